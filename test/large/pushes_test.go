package large

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A pusher sends the requests of one client to one registry.
type pusher struct {
	client *http.Client
	base   string
	agent  string
}

// do sends a request and returns the answer with its body read.
func (p pusher) do(method, url, contentType string, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("User-Agent", p.agent)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if method == http.MethodGet {
		req.Header["Accept"] = []string{v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, "*/*"}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

func (p pusher) want(status int, method, url, contentType string, body []byte) (*http.Response, error) {
	resp, answer, err := p.do(method, url, contentType, body)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s %s: %s %s", method, url, resp.Status, bytes.TrimSpace(answer))
	}
	return resp, err
}

func (p pusher) blob(repository string, content []byte) error {
	resp, err := p.want(http.StatusAccepted, http.MethodPost, p.base+"/v2/"+repository+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	location, err := resp.Location()
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", digest.FromBytes(content).String())
	location.RawQuery = query.Encode()
	_, err = p.want(http.StatusCreated, http.MethodPut, location.String(), "application/octet-stream", content)
	return err
}

// image pushes an image's blobs and puts its manifest under a reference.
func (p pusher) image(repository, reference string, a harness.Artifact) error {
	for _, d := range append([]v1.Descriptor{a.Config}, a.Layers...) {
		if err := p.blob(repository, a.Blob(d.Digest)); err != nil {
			return err
		}
	}
	return p.manifest(repository, reference, a.MediaType, a.Manifest)
}

func (p pusher) manifest(repository, reference, mediaType string, content []byte) error {
	_, err := p.want(http.StatusCreated, http.MethodPut, p.base+"/v2/"+repository+"/manifests/"+reference, mediaType, content)
	return err
}

// scene starts bellbuoy in front of a real registry.
func scene(t *testing.T, more string) (pusher, *harness.Receiver, *harness.RegistryServer) {
	t.Helper()
	registry := harness.Registry(t, harness.RegistryOptions{})
	hooks := harness.NewReceiver(t)
	b := bellbuoy(t, registry.URL, hooks.URL("/all"), more)
	return pusher{newClient(t, false), b.ProxyURL, "pusher"}, hooks, registry
}

func TestParallelPushes(t *testing.T) {
	const pushes = 64
	p, hooks, _ := scene(t, "")
	var mu sync.Mutex
	want := map[string]string{} // repository:tag → digest
	var wg sync.WaitGroup
	for i := range pushes {
		wg.Go(func() {
			a := harness.NewImage(harness.ImageOptions{Layers: 2, LayerSize: 1 << 20})
			repository, tag := fmt.Sprintf("team/app%d", i%8), fmt.Sprintf("v%d", i)
			p := p
			p.agent = fmt.Sprintf("pusher/%d", i)
			if err := p.image(repository, tag, a); err != nil {
				t.Errorf("pushing image %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			want[repository+":"+tag] = a.Digest.String()
		})
	}
	wg.Wait()
	for _, post := range hooks.Wait(pushes, time.Minute) {
		name := post.Text("repository") + ":" + post.Text("tags.0")
		if post.Text("type") != "PUSH_ARTIFACT" || want[name] != post.Text("digest") {
			t.Errorf("got an unexpected webhook: %s", post.Body)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("without a webhook: %v", want)
	}
	hooks.Quiet(time.Second)
}

// largest is the greatest size of a manifest; distribution has the same limit.
const largest = 4 << 20

// padded returns a manifest of exactly size bytes.
func padded(t *testing.T, a harness.Artifact, size int) []byte {
	t.Helper()
	var m v1.Manifest
	if err := json.Unmarshal(a.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	for {
		content, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) == size {
			return content
		}
		pad := len(m.Annotations["pad"]) + size - len(content)
		m.Annotations = map[string]string{"pad": strings.Repeat("x", max(pad, 0))}
	}
}

func TestLargestManifest(t *testing.T) {
	p, hooks, registry := scene(t, "")
	a := harness.NewImage(harness.ImageOptions{})
	if err := p.image("team/app", "small", a); err != nil {
		t.Fatal(err)
	}
	hooks.Wait(1, time.Minute)
	content := padded(t, a, largest)
	if err := p.manifest("team/app", "large", a.MediaType, content); err != nil {
		t.Fatal(err)
	}
	post := hooks.Wait(2, time.Minute)[1]
	if got, want := post.Text("digest"), digest.FromBytes(content).String(); post.Text("tags.0") != "large" || got != want {
		t.Errorf("digest %s, want %s: %.300s", got, want, post.Body)
	}
	_, got, err := p.do(http.MethodGet, p.base+"/v2/team/app/manifests/large", "", nil)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back (%v), want the %d that were put", len(got), err, len(content))
	}
	// The registry refuses a manifest of one byte more, and the refusal causes no event.
	tooLarge := padded(t, a, largest+1)
	direct := pusher{p.client, registry.URL, p.agent}
	path := "/v2/team/app/manifests/huge"
	want, wantBody, err := direct.do(http.MethodPut, direct.base+path, a.MediaType, tooLarge)
	if err != nil {
		t.Fatal(err)
	}
	through, gotBody, err := p.do(http.MethodPut, p.base+path, a.MediaType, tooLarge)
	if err != nil || through.StatusCode != want.StatusCode || !bytes.Equal(gotBody, wantBody) {
		t.Errorf("4 MiB and one byte: got %v %s (%v), from the registry itself %s %s", through, gotBody, err, want.Status, wantBody)
	}
	if want.StatusCode/100 != 4 {
		t.Errorf("the registry took it: %s", want.Status)
	}
	hooks.Quiet(time.Second)
}

// 500 images pushed by digest and an index of them by tag are one push. A pull of the index is one
// pull.
func TestIndexOfManyChildren(t *testing.T) {
	const n = 500
	p, hooks, _ := scene(t, "correlation: {untagged_push: 4s}\n")
	layer := harness.NewImage(harness.ImageOptions{Seed: 1})
	var children []harness.Artifact
	for i := range n {
		// One layer for all, because the test needs only many manifests.
		child := harness.NewImage(harness.ImageOptions{Seed: 1, Annotations: map[string]string{"n": fmt.Sprint(i)}})
		children = append(children, child)
	}
	index := harness.NewIndex(children...)
	if err := p.image("team/app", layer.Digest.String(), layer); err != nil {
		t.Fatal(err)
	}
	hooks.WaitAt("/all", 1, time.Minute) // no index lists this one: it becomes a push of its own when its quiet time is over
	for _, child := range children {
		if err := p.manifest("team/app", child.Digest.String(), child.MediaType, child.Manifest); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.manifest("team/app", "v1", index.MediaType, index.Manifest); err != nil {
		t.Fatal(err)
	}
	post := hooks.Wait(2, time.Minute)[1]
	if post.Text("digest") != index.Digest.String() || post.Text("tags.0") != "v1" || post.Text("size") != fmt.Sprint(float64(index.TotalSize())) {
		t.Errorf("want digest %s, size %d: %.600s", index.Digest, index.TotalSize(), post.Body)
	}
	if got, ok := post.Field("children").([]any); !ok || len(got) != n {
		t.Errorf("%d children in the event, want %d", len(got), n)
	}
	hooks.Quiet(6 * time.Second) // no event of a child may follow

	p.agent = "puller"
	paths := []string{"manifests/v1", "manifests/" + children[7].Digest.String(), "blobs/" + layer.Layers[0].Digest.String()}
	for _, path := range paths {
		if _, err := p.want(http.StatusOK, http.MethodGet, p.base+"/v2/team/app/"+path, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if post := hooks.Wait(3, time.Minute)[2]; post.Text("type") != "PULL_ARTIFACT" || post.Text("digest") != index.Digest.String() {
		t.Errorf("the pull: %.600s", post.Body)
	}
	hooks.Quiet(time.Second)
}
