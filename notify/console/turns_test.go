package console

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// slowDesk answers for webhooks only once release is closed.
type slowDesk struct {
	WebhookDesk
	release     chan struct{}
	asked, most atomic.Int64
}

func (d *slowDesk) Webhooks(ctx context.Context, by access.Principal) ([]manage.Webhook, error) {
	d.most.Store(max(d.most.Load(), d.asked.Add(1)))
	defer d.asked.Add(-1)
	select {
	case <-d.release:
		return d.WebhookDesk.Webhooks(ctx, by)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// However many people look at pages, few pages are made at once, and requests beyond a number are
// refused: those of one account first.
func TestPagesAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(sample())
		slow := &slowDesk{WebhookDesk: c.Webhooks, release: make(chan struct{})}
		c.Webhooks = slow
		var viewers sync.WaitGroup
		var shown, late atomic.Int64
		look := func(account, path string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			by := access.Principal{Name: account, Administrator: true}
			c.Handler().ServeHTTP(w, access.WithPrincipal(httptest.NewRequest("GET", path, nil), by))
			return w
		}
		wait := func(account string, n int) {
			for range n {
				viewers.Go(func() {
					switch w := look(account, "/webhooks"); w.Code {
					case http.StatusOK:
						shown.Add(1)
					case http.StatusServiceUnavailable:
						late.Add(1)
					default:
						t.Errorf("%s: %d", account, w.Code)
					}
				})
			}
			synctest.Wait()
		}
		refused := func(account string, want int) {
			t.Helper()
			w := look(account, "/webhooks")
			if w.Code != want || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "ry again soon") {
				t.Errorf("%s: %d %v, want %d\n%s", account, w.Code, w.Header(), want, w.Body)
			}
		}
		wait("ops", mostOfAccount)
		refused("ops", http.StatusTooManyRequests)
		for n := range mostRequests/mostOfAccount - 1 {
			wait(fmt.Sprint("ann", n), mostOfAccount)
		}
		refused("jo", http.StatusServiceUnavailable)
		time.Sleep(turnPatience) // too long for those that wait for their turn
		synctest.Wait()
		if most := slow.most.Load(); most != mostMade || late.Load() != mostRequests-mostMade {
			t.Errorf("%d pages were made at once, want %d; %d waited in vain", most, mostMade, late.Load())
		}
		close(slow.release)
		viewers.Wait()
		if shown.Load() != mostMade || c.turns.all != 0 || len(c.turns.of) != 0 {
			t.Errorf("%d pages were shown; %d requests of %d accounts are still counted", shown.Load(), c.turns.all, len(c.turns.of))
		}
		if w := look("ops", "/webhooks"); w.Code != http.StatusOK {
			t.Errorf("afterwards: %d", w.Code)
		}
	})
}

// A page that its reader does not take makes nobody wait.
func TestAReaderWhoReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(sample())
		read := make(chan struct{})
		var readers sync.WaitGroup
		for range 2 * mostMade {
			readers.Go(func() {
				w := stuckWriter{httptest.NewRecorder(), read}
				c.Handler().ServeHTTP(w, access.WithPrincipal(httptest.NewRequest("GET", "/webhooks", nil), ops))
			})
		}
		synctest.Wait()
		if status, _ := get(t, c, ops, "/webhooks"); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
		close(read)
		readers.Wait()
	})
}

type stuckWriter struct {
	*httptest.ResponseRecorder
	read chan struct{}
}

func (w stuckWriter) Write(page []byte) (int, error) {
	<-w.read
	return w.ResponseRecorder.Write(page)
}
