package format

import (
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
)

// TestChartReferences: a chart's reference is the URL of its archive. A chart without a name has no
// reference.
func TestChartReferences(t *testing.T) {
	at := detect.External{Scheme: "https", Host: "charts.example.com"}
	for want, e := range map[string]detect.Event{
		"https://charts.example.com/t/charts/demo-1.0.0.tgz": {Repository: "t", Tags: []string{"1.0.0"}, Chart: &detect.Chart{Name: "demo", Version: "1.0.0"}},
		"https://charts.example.com/t/demo.tgz":              {Repository: "t", Tags: []string{"1.0.0"}, Chart: &detect.Chart{Name: "demo", Version: "1.0.0", Path: "/t/demo.tgz"}},
		"":                                                   {Unnamed: true, Chart: &detect.Chart{Size: 5}},
	} {
		e.External, e.Type = at, detect.DownloadChart
		b := NewBellbuoyEvent(&e)
		if got := append(b.References, "")[0]; got != want || len(b.Tags) != len(b.References) {
			t.Errorf("%q %q, want %q", got, b.Tags, want)
		}
	}
}
