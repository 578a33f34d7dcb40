package notify

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// queueOutcome queues an outcome for the store. The caller holds the lane's lock.
func (l *lane) queueOutcome(f attemptOutcome) {
	l.outcomes = append(l.outcomes, f)
	if !l.storingOutcomes {
		l.storingOutcomes = true
		l.d.work.Go(l.storeOutcomes)
	}
}

// storeOutcomes stores outcomes until none are queued.
func (l *lane) storeOutcomes() {
	for {
		batch := l.takeOutcomes()
		if len(batch) == 0 {
			return
		}
		l.storeBatch(batch)
		l.batchStored(batch)
	}
}

func (l *lane) takeOutcomes() []attemptOutcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.outcomes
	l.outcomes = nil
	l.storingOutcomes = len(batch) > 0
	return batch
}

// storeBatch stores a batch and retries until it succeeds. While it fails, the lane starts no more
// POSTs than it has room for, so a failing store costs neither memory nor repeated POSTs. It gives
// up only when bellbuoy stops; the deliveries are then sent again after the next start.
func (l *lane) storeBatch(batch []attemptOutcome) {
	rest := retryFirst
	for len(batch) > 0 && l.d.posting.Err() == nil {
		err := l.storeBatchOnce(batch)
		if err == nil {
			return
		}
		if errors.Is(err, store.ErrFenced) {
			l.fenced(batch)
			return
		}
		if errors.Is(err, store.ErrClosed) {
			return
		}
		if errors.Is(err, store.ErrInvalid) {
			batch = l.storableOutcomes(batch)
			continue
		}
		l.d.noteWrite(err)
		sleep(l.d.posting, rest)
		rest = min(2*rest, retryMost)
	}
}

// storableOutcomes handles a batch that the store refuses as invalid. It stores several outcomes
// one by one. A single one is replaced by a dead letter.
func (l *lane) storableOutcomes(batch []attemptOutcome) []attemptOutcome {
	if len(batch) > 1 {
		for i := range batch {
			l.storeBatch(batch[i : i+1])
		}
		return nil
	}
	for i := range batch {
		o := &batch[i].outcome
		if o.Attempt == nil && o.Payload == nil {
			return nil // the delivery becomes due again later
		}
		o.State, o.Reason, o.Payload, o.Attempt = store.Dead, ReasonUnrenderable, nil, nil
		l.logDead(batch[i], "its outcome cannot be stored")
	}
	return batch
}

func (l *lane) storeBatchOnce(batch []attemptOutcome) error {
	outcomes := make([]store.Outcome, 0, len(batch))
	expired := 0
	for _, f := range batch {
		if f.gone {
			if err := l.d.saveSwitch(l.d.posting, l.name, switchedByGone()); err != nil {
				return err
			}
		}
		if f.outcome.Reason == ReasonExpired && f.outcome.Attempt == nil {
			expired++
		}
		outcomes = append(outcomes, f.outcome)
	}
	if err := l.saveCircuit(); err != nil {
		return err
	}
	if err := l.d.store.Finish(l.d.posting, outcomes); err != nil {
		return err
	}
	l.d.noteWrite(nil)
	if expired > 0 {
		l.d.log.Warn("dead letters: deliveries expired while they waited", zap.String("webhook", l.name), zap.Int("deliveries", expired))
	}
	return nil
}

// saveCircuit stores the circuit if it has changed, so that a restart or a new owner does not flood
// a receiver that is down.
func (l *lane) saveCircuit() error {
	l.mu.Lock()
	epoch, state, changed := l.epoch, l.circuit.state(l.failure), !l.circuit.retryAt.Equal(l.storedRetryAt)
	retryAt := l.circuit.retryAt
	l.mu.Unlock()
	if !changed || epoch == 0 {
		return nil
	}
	if err := l.d.store.SetLane(l.d.posting, l.name, epoch, state); err != nil && !errors.Is(err, store.ErrFenced) {
		return err
	}
	l.mu.Lock()
	l.storedRetryAt = retryAt
	l.mu.Unlock()
	return nil
}

// fenced handles outcomes that the store refused because the lane had another owner.
func (l *lane) fenced(batch []attemptOutcome) {
	l.mu.Lock()
	current := false
	for _, f := range batch {
		current = current || f.outcome.Epoch == l.epoch
	}
	l.mu.Unlock()
	if current && l.epochLost() {
		l.loseLease()
		l.d.leaseSoon()
	}
}

// epochLost asks the store whether this replica has lost the lane's lease.
func (l *lane) epochLost() bool {
	l.mu.Lock()
	epoch, state := l.epoch, l.circuit.state(l.failure)
	l.mu.Unlock()
	if epoch == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(l.d.posting, l.d.options.LeaseTTL)
	defer cancel()
	return errors.Is(l.d.store.SetLane(ctx, l.name, epoch, state), store.ErrFenced)
}

// batchStored removes a stored batch from the deliveries in flight.
func (l *lane) batchStored(batch []attemptOutcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range batch {
		l.removeInFlight(f.outcome.DeliveryID)
		// A pending delivery is due again later. If the store selects, another delivery may
		// now be free to start.
		l.stale = l.stale || l.backlog || f.outcome.State == store.Pending
	}
	l.makeWaitingDue()
	if l.hook == nil && len(l.inFlight) == 0 {
		l.d.reconcileSoon()
	}
	l.startPump()
}
