package main

import (
	"context"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify"
)

// derivers returns what derives further events from committed ones.
func (w *wiring) derivers() (all []notify.Deriver) {
	if w.quotas != nil {
		all = append(all, w.quotas)
	}
	return all
}

// newQuotas returns the quotas of projects; nil if there are none.
func newQuotas(projects []config.Project) *quota.Quotas {
	if !slices.ContainsFunc(projects, func(p config.Project) bool { return p.Quota.Limit > 0 }) {
		return nil
	}
	return quota.New(quotaRule(projects))
}

// quotaRule returns the quota of a project: that of the first entry that matches it.
func quotaRule(projects []config.Project) func(project string) quota.Rule {
	rules := make([]quota.Rule, len(projects))
	for i, p := range projects {
		rules[i].Limit = int64(p.Quota.Limit)
		for _, level := range p.Quota.WarnAt {
			rules[i].WarnAt = append(rules[i].WarnAt, float64(level))
		}
	}
	return func(project string) quota.Rule {
		for i, p := range projects {
			// patterns were checked by config
			if ok, _ := doublestar.Match(p.Match, project); ok {
				return rules[i]
			}
		}
		return quota.Rule{}
	}
}

// tracked is the tracker, together with the detection of refused pushes.
type tracked struct {
	*track.Tracker
	refusals *quota.Refusals
	log      *zap.Logger
}

// End implements proxy.Tracker.
func (t tracked) End(tr *track.Transfer, op *detect.Operation) {
	t.Tracker.End(tr, op)
	t.refused(context.Background(), op)
}

// Settle implements proxy.Tracker.
func (t tracked) Settle(ctx context.Context, in *track.Intent, op *detect.Operation) error {
	err := t.Tracker.Settle(ctx, in, op)
	t.refused(ctx, op)
	return err
}

func (t tracked) refused(ctx context.Context, op *detect.Operation) {
	if err := t.refusals.Note(ctx, op); err != nil {
		t.log.Warn("refused push not recorded", zap.Error(err))
	}
}
