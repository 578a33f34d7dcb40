package format

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/test/docpage"
)

const eventsIntro = "An event is one thing that a client did, or that followed from it. A multi-arch push is one push, and a pull that resolves the tag by HEAD and " +
	"then reads by digest is one pull of that tag. Only what the upstream answered with 2xx is an event.\n\n" +
	"*A client* is a user name, an address and a user agent, within one repository. What it does there within a quiet time is one thing; " +
	"[`correlation`](configuration.md#correlation) has these times. The [design](../design.md#events) explains the rules.\n\n" +
	"A webhook gets the types in its `events`. *By default* says whether it gets a type without that key: what causes the receiver's own " +
	"pulls to call it again is left out."

// happenings says for each type of event what yields it, a row each: what a client did or what
// happened, and what becomes of it.
var happenings = map[detect.Type][][2]string{
	detect.PushArtifact: {
		{"A manifest or index is put to a tag", "one event with the tag. `previous_digest` is what the tag stood on before; `changed` is false if it is the same"},
		{"A manifest is put by digest, and an index that lists it follows", "part of the event of the index, in `children`"},
		{"A manifest is put by digest, and its tag follows (Helm)", "one event with the tag"},
		{"A manifest is put by digest with `?tag=`", "one event with the tags that the upstream confirms"},
		{"A manifest is put by digest, and neither follows", "an event without a tag, after `correlation.untagged_push` of quiet"},
		{"A signature, attestation, SBOM or referrer is pushed", "an event of that `kind` with its `subject`; none with `detection.accessories: false`"},
		{"An index is put to a fallback tag `sha256-…` of the referrers API", "none: bookkeeping of clients"},
	},
	detect.PullArtifact: {
		{"A tag is read, and a layer is downloaded", "one event with the tag"},
		{"A tag is resolved by HEAD, its digest read, and a layer downloaded (Docker, containerd, kubelet)", "one event with the tag"},
		{"A digest is read, and a layer is downloaded", "one event by digest; `tags` are those that are known for it"},
		{"An index is read, then the manifest of a platform", "one event of the index; `children` are the platforms"},
		{"The same is read again within `correlation.repeat`", "the same pull"},
		{"A manifest is read and no layer (`skopeo inspect`, a poll)", "an inspection: sent only to webhooks with `manifest_reads: true`"},
		{"A HEAD alone; a 304 or an error; a read of what the client itself just pushed", "none"},
	},
	detect.DeleteArtifact: {
		{"A manifest is deleted by digest", "one event with the digest, size and all tags that bellbuoy knows. `tags_complete` says whether these are all"},
	},
	detect.DeleteTag: {
		{"A tag is deleted, its artifact stays", "one event with the tag and the digest that it stood on"},
		{"A client whose DELETE of a tag was refused overwrites it with a dummy and deletes that (regctl)", "one event with the tag and its earlier digest"},
	},
	detect.UploadChart: {
		{"A chart is uploaded to a ChartMuseum", "one event. Name and version are those of the Chart.yaml in the archive"},
		{"A provenance file alone is uploaded", "none"},
	},
	detect.DownloadChart: {
		{"The archive of a chart is read from a ChartMuseum, or from where an index.yaml has listed it", "one event for each GET"},
		{"An index.yaml or a provenance file is read", "none"},
	},
	detect.DeleteChart: {
		{"A version of a chart is deleted from a ChartMuseum", "one event; size and digest are looked up before"},
	},
	detect.ScanningCompleted: {
		{"A scanner of `scanners` reports on an image", "one event with severities and findings, for each image of an index"},
	},
	detect.ScanningFailed: {
		{"A scan fails or takes too long", "one event with the reason"},
	},
	detect.QuotaExceed: {
		{"The usage of a project rises above `projects[].quota.limit`", "one event; the next one after it fell 5 points below"},
		{"The upstream refuses a push for its own quota", "one event for each push and client"},
	},
	detect.QuotaWarning: {
		{"The usage of a project rises to a level of `projects[].quota.warn_at`", "one event for each level; the next one after it fell 5 points below"},
	},
	detect.Replication: {
		{"A replicator of `replication` was quiet for `quiet`", "one event for each run and project, with what was moved and what failed"},
	},
}

// TestEventsPage makes docs/reference/events.md of the types of events and the format bellbuoy.
func TestEventsPage(t *testing.T) {
	page := docpage.New("events", "Events", "go generate ./notify/format")
	page.Paragraph(eventsIntro)
	usual := defaultEvents(t, "bellbuoy")
	var rows [][]string
	for _, kind := range allTypes {
		byDefault := "no"
		if slices.Contains(usual, string(kind)) {
			byDefault = "yes"
		}
		rows = append(rows, []string{fmt.Sprintf("[`%s`](#%s)", kind, strings.ToLower(string(kind))), byDefault, docpage.Codes(someFormats(t, kind))})
	}
	page.Table([]string{"Type", "By default", "Other formats"}, rows)
	page.Paragraph("The [formats](formats.md) " + docpage.Codes(allFormats(t)) + " can say all types; each other format only those beside which the table has it.")
	for _, kind := range allTypes {
		writeEvent(t, page, kind)
	}
	page.Heading(2, "Fields")
	page.Paragraph("Fields of the format [`bellbuoy`](formats.md#bellbuoy), by which [templates](formats.md#template) name them too. A field that has no value is absent.")
	page.Table([]string{"Field", "Meaning"}, fieldRows(t))
	page.Check(t, *update)
}

func writeEvent(t *testing.T, page *docpage.Page, kind detect.Type) {
	t.Helper()
	if len(happenings[kind]) == 0 {
		t.Errorf("the page does not say what yields %s", kind)
	}
	page.Heading(2, string(kind))
	var rows [][]string
	for _, h := range happenings[kind] {
		rows = append(rows, []string{h[0], h[1]})
	}
	page.Table([]string{"What happens", "Event"}, rows)
	_, _, body, err := pageFormat(t, "bellbuoy").Render(Sample(kind), 0)
	if err != nil {
		t.Fatal(err)
	}
	page.Details("A sample in the format bellbuoy", "json", indented(body))
}

// allFormats returns the formats that can say all types.
func allFormats(t *testing.T) (names []string) {
	t.Helper()
	for _, name := range inDocumentationsOrder(t) {
		if len(pageFormat(t, name).Says()) == len(allTypes) {
			names = append(names, name)
		}
	}
	return names
}

// someFormats returns the formats that can say a type but not all types.
func someFormats(t *testing.T, kind detect.Type) (names []string) {
	t.Helper()
	for _, name := range inDocumentationsOrder(t) {
		if says := pageFormat(t, name).Says(); len(says) < len(allTypes) && slices.Contains(says, kind) {
			names = append(names, name)
		}
	}
	return names
}

// fieldRows returns the fields of the format bellbuoy, as its JSON schema describes them.
func fieldRows(t *testing.T) (rows [][]string) {
	t.Helper()
	content, err := os.ReadFile("bellbuoy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type property struct {
		Description string
		Const       string
		Enum        []string
	}
	var schema struct{ Properties map[string]property }
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		p := schema.Properties[name]
		if !strings.HasSuffix(p.Description, ".") { // a tag ends a description at its first comma
			t.Errorf("the field %s has no whole sentence as description: %q", name, p.Description)
		}
		meaning := docpage.Plain(p.Description)
		if len(p.Enum) > 0 {
			meaning += " Values: " + docpage.Codes(p.Enum) + "."
		}
		rows = append(rows, []string{docpage.Code(name), meaning})
	}
	return rows
}
