package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PostgresServer is a PostgreSQL with a data directory of its own. Committed data survives Stop,
// Kill and Start.
type PostgresServer struct {
	Daemon
	URL  string // of the database postgres, as a superuser
	port int
}

// Postgres initialises and starts a PostgreSQL. If the tests run as root it runs as the user
// postgres, because it refuses root. Settings are lines of postgresql.conf.
func Postgres(t T, settings ...string) *PostgresServer {
	t.Helper()
	binary := Part(t, "postgres")
	cred := postgresUser(t)
	dir, err := os.MkdirTemp("", "bellbuoy-pg-") // the parent of t.TempDir is closed to other users
	if err != nil {
		t.Fatalf("making a data directory: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			t.Fatalf("giving the data directory to postgres: %v", err)
		}
	}
	initdb(t, filepath.Join(filepath.Dir(binary), "initdb"), data, cred)
	port := FreePort(t)
	p := &PostgresServer{port: port, URL: postgresURL(port, "postgres")}
	args := []string{"-D", data, "-p", strconv.Itoa(port), "-k", dir}
	for _, setting := range append([]string{"listen_addresses=127.0.0.1", "shared_buffers=32MB"}, settings...) {
		args = append(args, "-c", setting)
	}
	p.Daemon = Daemon{
		name: "postgres", path: binary, args: args, env: []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}, dir: dir, user: cred,
		quit: syscall.SIGINT,  // a fast shutdown: SIGTERM would wait for every client to disconnect
		kill: syscall.SIGQUIT, // an immediate shutdown, with recovery at the next start; SIGKILL would leave its children
		ready: func(ctx context.Context) error {
			conn, err := pgx.Connect(ctx, p.URL)
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		},
	}
	p.launch(t)
	return p
}

// Database creates an empty database and returns its URL.
func (p *PostgresServer) Database(t T, name string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URL)
	if err != nil {
		t.Fatalf("connecting to postgres: %v", err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	return postgresURL(p.port, name)
}

func postgresURL(port int, database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", port, database)
}

func initdb(t T, path, data string, cred *syscall.Credential) {
	t.Helper()
	cmd := exec.Command(path, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	cmd.Dir = filepath.Dir(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
}

// postgresUser is the user of PostgreSQL if the tests run as root, otherwise nil.
func postgresUser(t T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("PostgreSQL refuses to run as root, and there is no user postgres: %v", err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32) // the system's uids are numbers
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
