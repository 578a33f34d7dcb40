package main

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/detect/replication"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/notify"
)

// derivers returns the derivers that the configuration needs.
func (w *wiring) derivers() (all []notify.Deriver) {
	if w.quotas != nil {
		all = append(all, w.quotas)
	}
	if len(w.replications) > 0 {
		all = append(all, w.replications)
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

// newReplications returns the rules of replications.
func newReplications(all []config.Replication) (rules replication.Rules) {
	for _, r := range all {
		rules = append(rules, replication.Rule{Name: r.Name, Matches: replicator(r.Match), Quiet: time.Duration(r.Quiet), Mute: !r.AlsoPushEvents})
	}
	return rules
}

// replicator returns a function that reports whether a client is the replicator of a rule. All keys
// that are set must match.
func replicator(m config.ReplicationMatch) func(*detect.Client) bool {
	agents, operators := notify.MatchText(m.UserAgents), notify.MatchText(m.Operators)
	return func(c *detect.Client) bool {
		if len(m.UserAgents) > 0 && !agents(c.UserAgent) || len(m.Operators) > 0 && !operators(c.Operator) {
			return false
		}
		if len(m.SourceCIDRs) == 0 {
			return true
		}
		address, err := netip.ParseAddr(c.Address)
		return err == nil && slices.ContainsFunc(m.SourceCIDRs, func(p netip.Prefix) bool { return p.Contains(address.Unmap()) })
	}
}

// pullLedger is the ledger of the tracker. It passes recorded pulls to the replications too.
type pullLedger struct {
	detect.Ledger
	runs *replication.Recorder
}

// Record implements detect.Ledger.
func (l pullLedger) Record(events ...detect.Event) {
	l.Ledger.Record(events...)
	l.runs.Pulled(events)
}

// proxyTracker is the tracker as the proxy sees it. It also detects pushes that were refused for a
// quota, and replications.
type proxyTracker struct {
	*track.Tracker
	refusals *quota.Refusals
	runs     *replication.Recorder
	log      *zap.Logger
	puts     *sync.Map // *track.Intent to a copy of its detect.Operation, of replicators only
}

// Start implements proxy.Tracker.
func (t proxyTracker) Start(op *detect.Operation) track.Transfer {
	t.runs.Begin(op)
	return t.Tracker.Start(op)
}

// End implements proxy.Tracker.
func (t proxyTracker) End(tr *track.Transfer, op *detect.Operation) {
	t.Tracker.End(tr, op)
	t.runs.End(op)
	t.noteRefusal(context.Background(), op)
}

// Intend implements proxy.Tracker.
func (t proxyTracker) Intend(ctx context.Context, op *detect.Operation) (*track.Intent, error) {
	in, err := t.Tracker.Intend(ctx, op)
	if in != nil && t.runs.Follows(op) {
		t.puts.Store(in, *op)
	}
	return in, err
}

// Settle implements proxy.Tracker.
func (t proxyTracker) Settle(ctx context.Context, in *track.Intent, op *detect.Operation) error {
	err := t.Tracker.Settle(ctx, in, op)
	t.puts.Delete(in)
	t.runs.Put(op, true)
	t.noteRefusal(ctx, op)
	return err
}

// LeaveOpen implements proxy.Tracker.
func (t proxyTracker) LeaveOpen(in *track.Intent) {
	t.Tracker.LeaveOpen(in)
	if op, ok := t.puts.LoadAndDelete(in); ok {
		put := op.(detect.Operation)
		t.runs.Put(&put, false)
	}
}

// Drop implements proxy.Tracker.
func (t proxyTracker) Drop(ctx context.Context, in *track.Intent) error {
	t.puts.Delete(in)
	return t.Tracker.Drop(ctx, in)
}

// noteRefusal records a push that the upstream refused for its own quota.
func (t proxyTracker) noteRefusal(ctx context.Context, op *detect.Operation) {
	if err := t.refusals.Note(ctx, op); err != nil {
		t.log.Warn("refused push not recorded", zap.Error(err))
	}
}
