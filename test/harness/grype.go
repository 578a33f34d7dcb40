package harness

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite"
)

//go:embed testdata/grype.sql
var grypeDatabase string

// Grype is the real scanner grype, for ScannerServer.ScanWith. It knows two vulnerabilities: the
// critical CVE-2099-0001 of the package bell before 1.2.4-r0, and the low CVE-2099-0003 of buoy,
// without a fix; both of Alpine 3.20 (see AlpineFiles).
func Grype(t T) func(ScanRequest) (findings string, err error) {
	t.Helper()
	binary, env := Part(t, "grype"), Env(t)
	dir := filepath.Join(t.TempDir(), "6")
	if err := makeGrypeDatabase(dir); err != nil {
		t.Fatalf("making a database for grype: %v", err)
	}
	env = append(env, "GRYPE_DB_CACHE_DIR="+filepath.Dir(dir), "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false",
		"GRYPE_DB_VALIDATE_BY_HASH_ON_START=false", "GRYPE_CHECK_FOR_APP_UPDATE=false", "GRYPE_REGISTRY_INSECURE_USE_HTTP=true", "NO_COLOR=1")
	return func(q ScanRequest) (string, error) { return grype(t.Context(), binary, env, q) }
}

func makeGrypeDatabase(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "vulnerability.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(grypeDatabase); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "import.json"), []byte(`{"digest":"xxh64:0000000000000000","source":"by hand","client_version":"v6.1.10"}`), 0o644)
}

func grype(ctx context.Context, binary string, env []string, q ScanRequest) (string, error) {
	host := strings.TrimPrefix(q.Registry.URL, "http://")
	cmd := exec.CommandContext(ctx, binary, "registry:"+host+"/"+q.Artifact.Repository+"@"+q.Artifact.Digest, "-o", "json")
	cmd.Env = env
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return "", errors.New(string(failed.Stderr))
	}
	if err != nil {
		return "", err
	}
	return grypeFindings(out)
}

// grypeFindings converts grype's JSON into the entries of a report's list of findings.
func grypeFindings(out []byte) (string, error) {
	var scanned struct {
		Matches []struct {
			Vulnerability struct {
				ID, Severity, Description string
				URLs                      []string
				Fix                       struct{ Versions []string }
			}
			Artifact struct{ Name, Version string }
		}
	}
	if err := json.Unmarshal(out, &scanned); err != nil {
		return "", fmt.Errorf("decoding grype's output: %w", err)
	}
	var all []string
	for _, m := range scanned.Matches {
		v := m.Vulnerability
		all = append(all, string(marshal(map[string]any{
			"id": v.ID, "package": m.Artifact.Name, "version": m.Artifact.Version, "fix_version": strings.Join(v.Fix.Versions, ", "),
			"severity": v.Severity, "description": v.Description, "links": v.URLs,
		})))
	}
	return strings.Join(all, ","), nil
}

// AlpineFiles returns the files by which scanners recognize Alpine 3.20 and its packages. A package
// is written name=version.
func AlpineFiles(packages ...string) map[string][]byte {
	var installed strings.Builder
	for _, p := range packages {
		name, version, _ := strings.Cut(p, "=")
		fmt.Fprintf(&installed, "P:%s\nV:%s\nA:x86_64\no:%s\n\n", name, version, name)
	}
	return map[string][]byte{
		"etc/os-release":       []byte("ID=alpine\nVERSION_ID=3.20.3\n"),
		"etc/alpine-release":   []byte("3.20.3\n"),
		"lib/apk/db/installed": []byte(installed.String()),
	}
}
