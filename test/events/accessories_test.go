package events

import (
	"testing"
	"time"
)

// TestMutedAccessories checks that detection.accessories: false mutes pushes, pulls and deletes of
// signatures and of referrers, and none of images.
func TestMutedAccessories(t *testing.T) {
	t.Parallel()
	s := raise(t, "anonymous", "detection: {accessories: false}\n")
	s.play(t, []part{{"muted", muted}})
}

func muted(sc *script) {
	t, one := sc.t, image()
	sc.run("crane", "push", "--insecure", one.Layout(t, "x"), sc.ref("app:v1"))
	sc.expectsLine("push", "app:v1", string(one.Digest))
	sc.run("cosign", "generate-key-pair", "--output-key-prefix", sc.home()+"/key")
	plain := []string{"--allow-http-registry", "--allow-insecure-registry"}
	for _, bundle := range []string{"--new-bundle-format=false", "--new-bundle-format=true"} {
		sc.run("cosign", append([]string{"sign", "-y", "--tlog-upload=false", "--use-signing-config=false", "--key", sc.home() + "/key.key", bundle},
			append(plain, sc.ref("app@"+string(one.Digest)))...)...)
	}
	sc.run("oras", "attach", "--plain-http", "--disable-path-validation", "--artifact-type", "application/x-sbom", sc.ref("app:v1"), sc.file("note.txt", "x")+":text/plain")
	referrer := sc.referrer("app", string(one.Digest))
	time.Sleep(2500 * time.Millisecond) // a read right after its own push would be a read-back
	sc.run("oras", "pull", "--plain-http", "-o", t.TempDir(), "--allow-path-traversal", sc.ref("app@"+referrer))
	sc.run("crane", "delete", "--insecure", sc.ref("app@"+referrer))
	sc.run("crane", "delete", "--insecure", sc.ref("app:sha256-"+one.Digest.Encoded()+".sig"))
	sc.run("crane", "pull", "--insecure", sc.ref("app:v1"), sc.file("one.tar", ""))
	sc.expectsLine("pull", "app:v1", string(one.Digest))
}
