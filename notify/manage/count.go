package manage

import (
	"context"
	"errors"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// mostCounted bounds Count.
const mostCounted = 10_000

// errEnough stops a count at its bound.
var errEnough = errors.New("enough")

// Count returns how many deliveries q selects, at most 10,000. It goes through all pages.
func (d *AccountDeliveries) Count(ctx context.Context, by access.Principal, q DeliveryQuery) (int, error) {
	q.Cursor = ""
	s, err := d.search(ctx, by, q)
	if err != nil {
		return 0, err
	}
	return d.count(ctx, s)
}

func (d *AccountDeliveries) count(ctx context.Context, s deliverySearch) (n int, err error) {
	err = d.everyPage(ctx, s, func(ids []int64) error {
		if n += len(ids); n >= mostCounted {
			n = mostCounted
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, err
}

// everyPage calls each with the ids of every page of a search.
func (d *AccountDeliveries) everyPage(ctx context.Context, s deliverySearch, each func(ids []int64) error) error {
	s.Most = 10 * store.SearchMost
	for {
		ids, next, err := d.pageOfIDs(ctx, s)
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			if err := each(ids); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		s.BeforeID = next
	}
}

// pageOfIDs returns the ids of a page. Events are read only if they decide.
func (d *AccountDeliveries) pageOfIDs(ctx context.Context, s deliverySearch) (ids []int64, next int64, err error) {
	if s.passes != nil {
		next, _, err = d.find(ctx, s, MostPage, func(one store.Delivery, _ *detect.Event) error {
			ids = append(ids, one.ID)
			return nil
		})
		return ids, next, err
	}
	s.Limit = 4 * MostPage
	page, err := d.Dispatcher.SearchDeliveries(ctx, s.DeliverySearch)
	for _, one := range page.Deliveries {
		ids = append(ids, one.ID)
	}
	return ids, page.Next, err
}
