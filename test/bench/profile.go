package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A buoy is a bellbuoy that is measured. With profiles it has an admin address that serves them.
type buoy struct {
	*harness.Buoy
	admin string // host:port; "" without profiles
	token string // of the admin address; "": bellbuoy's own, which works without accounts
}

func startBuoy(s *stage, config string) buoy {
	b := buoy{}
	if s.profiles != "" {
		b.admin = free(s)
		config += fmt.Sprintf("admin: {listen: %q}\n", b.admin)
	}
	b.Buoy = harness.Bellbuoy(s, config)
	return b
}

// profile takes a profile in the background: "profile?seconds=3" is CPU time, "heap" is memory. The
// function that it returns waits for it.
func (b buoy) profile(s *stage, name, what string) (wait func()) {
	if s.profiles == "" {
		return func() {}
	}
	done := make(chan error, 1)
	go func() { done <- b.fetch(filepath.Join(s.profiles, name+".pprof"), what) }()
	return func() {
		if err := <-done; err != nil {
			s.Errorf("taking the profile %s: %v", name, err)
		}
	}
}

// seconds is the name of a CPU profile of that duration.
func seconds(d time.Duration) string { return fmt.Sprintf("profile?seconds=%.0f", d.Seconds()) }

func (b buoy) fetch(path, what string) error {
	token := b.token
	if token == "" {
		own, err := os.ReadFile(filepath.Join(b.DataDir, "admin.token"))
		if err != nil {
			return err
		}
		token = strings.TrimSpace(string(own))
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+b.admin+"/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return os.WriteFile(path, body, 0o644)
}
