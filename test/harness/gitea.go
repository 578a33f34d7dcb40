package harness

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
)

// A GiteaServer is a running Gitea: a container registry at /v2/ and, for each user, a Helm
// repository at /api/packages/USER/helm.
type GiteaServer struct {
	Daemon
	URL  string // http://127.0.0.1:port
	Host string
}

// Gitea starts Gitea with an empty PostgreSQL database. public is the URL under which clients reach
// it; Gitea names it in token realms and in index.yaml. Each of users has a password.
func Gitea(t T, public string, users map[string]string) *GiteaServer {
	t.Helper()
	path, dir := Part(t, "gitea"), t.TempDir()
	Part(t, "git") // Gitea does not start without git
	port := FreePort(t)
	g := &GiteaServer{Host: fmt.Sprintf("127.0.0.1:%d", port)}
	g.URL = "http://" + g.Host
	me, err := user.Current() // Gitea compares it with RUN_USER
	if err != nil {
		t.Fatalf("%v", err)
	}
	database, err := url.Parse(Postgres(t).Database(t, "gitea"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	config := filepath.Join(dir, "app.ini")
	WriteFile(t, config, fmt.Sprintf(giteaConfig, me.Username, dir, port, public, filepath.Dir(path), database.Host))
	env := []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT=true"}
	Run(t, env, path, "migrate", "-c", config)
	for name, password := range users {
		Run(t, env, path, "admin", "user", "create", "-c", config, "--username", name, "--password", password,
			"--email", name+"@example.com", "--must-change-password=false")
	}
	g.Daemon = Daemon{
		name: "gitea", path: path, args: []string{"web", "-c", config}, env: env, dir: dir,
		ready: answers(g.URL+"/v2/", http.StatusUnauthorized),
	}
	g.launch(t)
	return g
}

// giteaConfig turns everything but packages off: SSH, mails, jobs.
const giteaConfig = `RUN_MODE = prod
RUN_USER = %s
WORK_PATH = %s
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %d
ROOT_URL = %s/
DISABLE_SSH = true
OFFLINE_MODE = true
STATIC_ROOT_PATH = %s
[database]
DB_TYPE = postgres
HOST = %s
NAME = gitea
USER = postgres
SSL_MODE = disable
[security]
INSTALL_LOCK = true
SECRET_KEY = not-a-secret
PASSWORD_COMPLEXITY = off
MIN_PASSWORD_LENGTH = 1
[service]
DISABLE_REGISTRATION = true
[cron]
ENABLED = false
[log]
LEVEL = Warn
`
