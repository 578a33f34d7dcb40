package notify

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Rows of the numbers of projects and webhooks in Harbor's API and the cloudevents format.
const (
	kindNumber   = "notify.number"   // ID: a name; value: its number
	kindNumbered = "notify.numbered" // ID: a number; value: the name that it belongs to
	scopeNumbers = "notify.numbers"

	mostNumbers = 100_000 // names with stored numbers; more are not stored
	assignEvery = time.Second
)

// numberedProject and numberedWebhook return the names under which numbers are stored.
func numberedProject(project string) string { return "project/" + project }
func numberedWebhook(key string) string     { return "webhook/" + key }

// numberOf returns the number at the end of a stored webhook's key.
func numberOf(key string) (int64, bool) {
	i := strings.LastIndexByte(key, '#')
	if i < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(key[i+1:], 10, 64)
	return n, err == nil && n > 0
}

// Numbers gives projects and webhooks of the file their numbers: a hash of the name, the same in
// every replica and after every restart, or the next free number if another name has it. An
// assigned number is stored and never assigned again.
type Numbers struct {
	rows Rows
	log  *zap.Logger

	mu     sync.RWMutex
	known  map[string]int64
	seen   map[string]bool // projects that are known or wanted, for Seen
	wanted map[string]bool
	soon   chan struct{}
}

// NewNumbers returns the numbers of a store.
func NewNumbers(rows Rows, log *zap.Logger) *Numbers {
	return &Numbers{rows: rows, log: log, known: map[string]int64{}, seen: map[string]bool{}, wanted: map[string]bool{}, soon: make(chan struct{}, 1)}
}

// Project returns the number of a project. It does not store it.
func (n *Numbers) Project(project string) int64 { return n.of(numberedProject(project)) }

// Webhook returns the number of the webhook with a key.
func (n *Numbers) Webhook(key string) int64 {
	if number, ok := numberOf(key); ok {
		return number
	}
	return n.of(numberedWebhook(key))
}

func (n *Numbers) of(name string) int64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if number, ok := n.known[name]; ok {
		return number
	}
	return format.Number(name)
}

// Seen makes Run assign a number to a project.
func (n *Numbers) Seen(project string) {
	if n == nil || project == "" {
		return
	}
	n.mu.RLock()
	seen := n.seen[project]
	n.mu.RUnlock()
	if seen {
		return
	}
	n.mu.Lock()
	if len(n.seen) < mostNumbers {
		n.seen[project], n.wanted[numberedProject(project)] = true, true
	}
	n.mu.Unlock()
	signal(n.soon)
}

// Run assigns numbers to the projects of Seen until ctx ends.
func (n *Numbers) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.soon:
		}
		if err := n.assignWanted(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("projects have no stored numbers yet", zap.Error(err))
			signal(n.soon)
		}
		sleep(ctx, assignEvery)
	}
}

func (n *Numbers) assignWanted(ctx context.Context) error {
	n.mu.RLock()
	names := make([]string, 0, len(n.wanted))
	for name := range n.wanted {
		names = append(names, name)
	}
	n.mu.RUnlock()
	return n.assign(ctx, names)
}

// GiveProjects stores the numbers of projects.
func (n *Numbers) GiveProjects(ctx context.Context, projects ...string) error {
	return n.assign(ctx, each(projects, numberedProject))
}

// GiveWebhooks stores the numbers of webhooks of the file.
func (n *Numbers) GiveWebhooks(ctx context.Context, keys ...string) error {
	return n.assign(ctx, each(keys, numberedWebhook))
}

func each(names []string, do func(string) string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, do(name))
	}
	return out
}

func (n *Numbers) assign(ctx context.Context, names []string) error {
	n.mu.RLock()
	var missing []string
	for _, name := range names {
		if _, known := n.known[name]; !known {
			missing = append(missing, name)
		}
	}
	n.mu.RUnlock()
	if len(missing) == 0 {
		return nil
	}
	var given map[string]int64
	err := n.rows.Update(ctx, []string{scopeNumbers, scopeWebhooks}, func(tx store.Tx) (err error) {
		given, err = assignAll(tx, missing)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing numbers: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, number := range given {
		n.known[name] = number
		delete(n.wanted, name)
	}
	return nil
}

// assignAll assigns numbers to names without one, and reads those of the others.
func assignAll(tx store.Tx, names []string) (map[string]int64, error) {
	given, taken := map[string]int64{}, map[int64]bool{}
	for _, name := range names {
		key := store.Key{Kind: kindNumber, ID: name}
		number, err := countOf(tx, key)
		if err != nil {
			return nil, err
		}
		if number > 0 {
			given[name] = number
			continue
		}
		number = format.Number(name)
		for {
			_, other, err := tx.Get(numberedKey(number))
			if err != nil {
				return nil, err
			}
			if !other && !taken[number] {
				break
			}
			number++
		}
		given[name], taken[number] = number, true
		tx.Put(countRow(key, number), store.Row{Key: numberedKey(number), Value: []byte(name)})
	}
	return given, nil
}

// ProjectOf returns the project with a number, or "".
func (n *Numbers) ProjectOf(ctx context.Context, number int64) (project string, err error) {
	err = n.rows.View(ctx, func(r store.Reader) error {
		row, _, err := r.Get(numberedKey(number))
		project, _ = strings.CutPrefix(string(row.Value), numberedProject(""))
		if project == string(row.Value) {
			project = ""
		}
		return err
	})
	return project, err
}

// Projects returns the projects with assigned numbers.
func (n *Numbers) Projects(ctx context.Context) (projects map[string]int64, err error) {
	err = n.rows.View(ctx, func(r store.Reader) error {
		projects = map[string]int64{}
		rows, err := r.Scan(kindNumber, numberedProject(""), mostNumbers)
		for _, row := range rows {
			number, err := strconv.ParseInt(string(row.Value), 10, 64)
			if err != nil {
				return fmt.Errorf("decoding the number of %s: %w", row.ID, err)
			}
			projects[strings.TrimPrefix(row.ID, numberedProject(""))] = number
		}
		return err
	})
	return projects, err
}

func numberedKey(number int64) store.Key {
	return store.Key{Kind: kindNumbered, ID: strconv.FormatInt(number, 10)}
}

// Find returns the number of a project, or the one that it would get now. It stores nothing.
func (n *Numbers) Find(ctx context.Context, project string) (number int64, err error) {
	name := numberedProject(project)
	err = n.rows.View(ctx, func(r store.Reader) error {
		if number, err = countOf(r, store.Key{Kind: kindNumber, ID: name}); err != nil || number > 0 {
			return err
		}
		for number = format.Number(name); ; number++ {
			_, taken, err := r.Get(numberedKey(number))
			if err != nil || !taken {
				return err
			}
		}
	})
	return number, err
}
