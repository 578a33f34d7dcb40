package main

import (
	"slices"
	"testing"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/api"
)

func TestBar(t *testing.T) {
	for percent, want := range map[float64]string{
		0: "[--------------------]", 0.1: "[#-------------------]", 50: "[##########----------]",
		97: "[###################-]", 100: "[####################]", 1000: "[####################]",
	} {
		if got := bar(percent); got != want {
			t.Errorf("bar(%v): got %s, want %s", percent, got, want)
		}
	}
}

// A status names up to ten projects that use more than their limit, and counts the others.
func TestOverQuota(t *testing.T) {
	full := api.V1Quota{Upstream: "up", Project: "full", Used: 2048, Limit: 2048}
	over := api.V1Quota{Upstream: "up", Project: "over", Used: 3072, Limit: 2048}
	const line = "project over: uses 3.0 KiB in upstream up, over its quota of 2.0 KiB"
	if got := overQuota([]api.V1Quota{full, over}); !slices.Equal(got, []string{line}) {
		t.Errorf("one of two projects over its quota: got %q, want %q", got, line)
	}
	got := overQuota(slices.Repeat([]api.V1Quota{over}, 12))
	if len(got) != 11 || got[9] != line || got[10] != "2 projects more over their quota; see: bellbuoy quota" {
		t.Errorf("12 projects over their quota: got %q, want 10 lines and the number of the others", got)
	}
}

// The first entry that matches a project decides, even if it has no quota.
func TestQuotaRule(t *testing.T) {
	rule := quotaRule([]config.Project{{Match: "team-free"}, {Match: "team-*", Quota: config.Quota{Limit: 10, WarnAt: []config.Percent{85}}}, {Match: "team-b", Quota: config.Quota{Limit: 99}}})
	for project, want := range map[string]int64{"team-free": 0, "team-b": 10, "other": 0} {
		if got := rule(project); got.Limit != want || want > 0 && (len(got.WarnAt) != 1 || got.WarnAt[0] != 85) {
			t.Errorf("rule of project %s: got %+v, want a limit of %d", project, got, want)
		}
	}
	if newQuotas([]config.Project{{Match: "*"}}) != nil {
		t.Error("newQuotas of projects without a limit: got quotas, want nil")
	}
}
