package format

import "github.com/bellbuoy/bellbuoy/detect"

// Values returns the values of a URL's placeholders for the event's nth tag: tag, digest,
// repository, namespace, name and type. Values that the event lacks are "".
func Values(e detect.Event, n int) map[string]string {
	p := Post{Event: e, Number: n}
	namespace, name, full := names(&e)
	digest := e.Digest
	if e.Chart != nil {
		digest = chartDigest(&e)
	}
	if e.Replication != nil {
		namespace, name, full = "", "", ""
	}
	return map[string]string{"tag": p.tag(), "digest": digest, "repository": full, "namespace": namespace, "name": name, "type": string(e.Type)}
}
