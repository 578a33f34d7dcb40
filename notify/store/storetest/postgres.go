package storetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// server is a PostgreSQL of the tests' own, on its own port and directory.
type server struct {
	bin, dir string
	port     int
	as       *syscall.Credential // root must not run it
}

// Shared is the server of this process's tests, once it runs.
var Shared struct {
	once   sync.Once
	Server *server
	why    string
	n      int
}

// StopPostgres ends the server of the tests, if there is one.
func StopPostgres() {
	if s := Shared.Server; s != nil {
		_ = s.Stop("immediate") // its directory goes next
		os.RemoveAll(s.dir)
	}
}

// Database gives a test a database of its own and returns its URL.
func Database(t testing.TB) string {
	t.Helper()
	Shared.once.Do(func() {
		s, err := newServer()
		if err == nil {
			err = s.Start()
		}
		if Shared.Server = s; err != nil {
			Shared.why = err.Error()
		}
	})
	if Shared.why != "" {
		t.Skipf("NOT TESTED on PostgreSQL, which the Debian package `postgresql` brings (apt-get install -y postgresql): %s", Shared.why)
	}
	Shared.n++
	name := fmt.Sprintf("test%d", Shared.n)
	Shared.Server.run(t, "CREATE DATABASE "+name)
	return Shared.Server.url(name)
}

func newServer() (*server, error) {
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(bins) == 0 {
		return nil, fmt.Errorf("no /usr/lib/postgresql/*/bin/initdb")
	}
	dir, err := os.MkdirTemp("", "bellbuoy-postgres-")
	if err != nil {
		return nil, err
	}
	s := &server{bin: filepath.Dir(bins[len(bins)-1]), dir: dir}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	return s, s.command("initdb", "-D", s.data(), "-A", "trust", "-U", "test", "-E", "UTF8", "--locale=C", "-N").Run()
}

// freePort is one below those that the kernel gives to outgoing connections, so that it stays free
// while PostgreSQL is down.
func freePort() (int, error) {
	for range 1000 {
		port := 10000 + rand.IntN(8000)
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.ECONNREFUSED) {
			return port, nil
		}
		if err == nil {
			c.Close()
		}
	}
	return 0, errors.New("no free port")
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return c
}

func (s *server) Start() error {
	options := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories=%s -c max_connections=300", s.port, s.dir)
	if flag.Lookup("test.bench").Value.String() == "" {
		options += " -c fsync=off" // tests kill processes, not machines
	}
	out, err := s.command("pg_ctl", "-D", s.data(), "-l", filepath.Join(s.dir, "log"), "-w", "-t", "120", "-o", options, "start").CombinedOutput()
	if err != nil {
		return fmt.Errorf("starting PostgreSQL: %w: %s", err, out)
	}
	return nil
}

func (s *server) Stop(mode string) error {
	return s.command("pg_ctl", "-D", s.data(), "-w", "-m", mode, "stop").Run()
}

func (s *server) url(database string) string {
	return fmt.Sprintf("postgres://test@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

func (s *server) run(t testing.TB, sql string) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}
