package deploy

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// resources has the collection of each kind that the manifests use.
var resources = map[string]string{
	"ConfigMap":             "/api/v1/namespaces/default/configmaps",
	"Service":               "/api/v1/namespaces/default/services",
	"ServiceAccount":        "/api/v1/namespaces/default/serviceaccounts",
	"PersistentVolumeClaim": "/api/v1/namespaces/default/persistentvolumeclaims",
	"Deployment":            "/apis/apps/v1/namespaces/default/deployments",
	"NetworkPolicy":         "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
	"PodDisruptionBudget":   "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
}

// A Kubernetes API server takes every object of the manifests. It knows no ServiceMonitor, which is
// the Prometheus operator's. No pod runs.
func TestKubernetesTakesTheManifests(t *testing.T) {
	t.Parallel()
	if !parts.Present("kube-apiserver") {
		t.Skip("kube-apiserver takes 7 min of CPU: go run ./test/parts/get kube-apiserver etcd")
	}
	server := apiServer(t)
	if status, answer := server.create(t, resources["ConfigMap"], "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatas: {}\n"); status != http.StatusBadRequest {
		t.Errorf("an unknown field is answered %d\n%s", status, answer)
	}
	for _, file := range []string{"sidecar.yaml", "replicas.yaml"} {
		taken := 0
		for _, object := range strings.Split(string(harness.ReadFile(t, filepath.Join("../../deploy/kubernetes", file))), "\n---\n") {
			var head struct{ Kind string }
			if err := yaml.Unmarshal([]byte(object), &head); err != nil {
				t.Fatal(err)
			}
			if head.Kind == "" || head.Kind == "ServiceMonitor" { // the comment at the start, or a kind of others
				continue
			}
			if status, answer := server.create(t, resources[head.Kind], object); status != http.StatusCreated {
				t.Errorf("%s: %s is answered %d\n%s", file, head.Kind, status, answer)
			}
			taken++
		}
		if taken < 6 {
			t.Errorf("%s has %d objects", file, taken)
		}
	}
}

type kubernetes struct {
	url    string
	client *http.Client
}

const adminToken = "a-token-of-the-test"

// apiServer starts Kubernetes' API server on an etcd of its own.
func apiServer(t *testing.T) kubernetes {
	t.Helper()
	dir := t.TempDir()
	store, peers := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
	harness.Serve(t, store, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", "http://"+store, "--advertise-client-urls", "http://"+store,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	tokens := filepath.Join(dir, "tokens.csv")
	harness.WriteFile(t, tokens, adminToken+",admin,1,system:masters\n")
	key := filepath.Join(dir, "service-accounts.key")
	harness.WriteFile(t, key, rsaKey(t))
	port := harness.FreePort(t)
	harness.Serve(t, fmt.Sprintf("127.0.0.1:%d", port), "kube-apiserver", "--etcd-servers=http://"+store, "--cert-dir="+dir,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--token-auth-file="+tokens, "--service-cluster-ip-range=10.0.0.0/24",
		"--service-account-issuer=https://kubernetes.example.com", "--service-account-key-file="+key, "--service-account-signing-key-file="+key,
		"--disable-admission-plugins=ServiceAccount")
	server := kubernetes{
		url:    fmt.Sprintf("https://127.0.0.1:%d", port),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	}
	if !harness.Eventually(harness.Soon, func() bool {
		status, _ := server.do(t, http.MethodGet, "/readyz", "")
		return status == http.StatusOK
	}) {
		t.Fatal("the API server is not ready")
	}
	return server
}

// rsaKey returns a new key in the only form that the API server reads.
func rsaKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// create has the server validate an object as if it were to be stored.
func (k kubernetes) create(t *testing.T, collection, object string) (int, string) {
	t.Helper()
	if collection == "" {
		t.Fatalf("no collection is known for\n%s", object)
	}
	return k.do(t, http.MethodPost, collection+"?dryRun=All&fieldValidation=Strict", object)
}

func (k kubernetes) do(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, k.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/yaml")
	resp, err := k.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}
