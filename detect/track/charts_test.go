package track

import (
	"fmt"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

func (c *client) chart(action detect.Action, tenant string, more func(*detect.Operation)) *request {
	op := &detect.Operation{
		Request:  detect.Request{Action: action, Repository: tenant},
		Upstream: "charts", Kind: detect.ChartMuseum, ID: "r", At: time.Now(), Client: c.Client,
	}
	more(op)
	r := &request{c: c, op: op, tr: c.Start(op)}
	if action.Writes() {
		r.in = c.intend(op)
	}
	return r
}

func (c *client) uploading(tenant, name, version string) *request {
	return c.chart(detect.ChartPost, tenant, func(op *detect.Operation) {
		op.Upload.Chart = &detect.Chart{Name: name, Version: version, Digest: blobOf(name + version), Size: 100}
	})
}

func (s *sim) chartStands(tenant, name, version string) {
	s.upstream.stands(tenant+"/"+name+"/"+version, detect.Found{Digest: blobOf(name + version), Size: 100})
}

func (c *client) download(tenant, file string) {
	c.chart(detect.ChartGet, tenant, func(op *detect.Operation) { op.File = file }).answered(200).end(true)
}

func chartLine(verb, tenant, name, version, more string) string {
	return fmt.Sprintf("%s %s:%s %s %s %s%s", verb, tenant, version, blobOf(name+version), name, version, more)
}

func TestCharts(t *testing.T) {
	up := func(more string) string { return chartLine("upload", "org/team", "demo", "0.1.0", more) }
	runScenarios(t, []scenario{
		{"upload, again with force, download, remove", func(s *sim) {
			c := s.client("helm")
			c.uploading("org/team", "demo", "0.1.0").answered(201).end(true)
			c.uploading("org/team", "demo", "0.1.0").answered(201).end(true)
			c.download("org/team", "demo-0.1.0.tgz")
			c.chart(detect.ChartDelete, "org/team", func(op *detect.Operation) { op.Chart, op.Version = "demo", "0.1.0" }).answered(200).end(true)
		}, []string{up(""), up(" unchanged"), chartLine("download", "org/team", "demo", "0.1.0", ""), chartLine("remove", "org/team", "demo", "0.1.0", "")}},

		{"refused, or no chart", func(s *sim) {
			c := s.client("curl")
			for _, status := range []int{400, 401, 409, 507} {
				r := c.uploading("", "demo", "0.1.0")
				if status >= 500 {
					r.lose()
					continue
				}
				r.answered(status).end(true)
			}
			c.chart(detect.ChartDelete, "", func(op *detect.Operation) { op.Chart, op.Version = "demo", "9.9.9" }).answered(404).end(true)
			c.chart(detect.ProvenancePost, "", func(*detect.Operation) {}).answered(201).end(true)
		}, nil},

		{"reads that are no downloads", func(s *sim) {
			c := s.client("helm")
			c.chart(detect.ChartGet, "", func(op *detect.Operation) { op.File = "demo-0.1.0.tgz" }).answered(404).end(true)
			c.chart(detect.ChartGet, "", func(op *detect.Operation) { op.File = "demo-0.1.0.tgz" }).answered(304).end(true)
			c.chart(detect.ChartGet, "", func(op *detect.Operation) { op.File = "demo-0.1.0.tgz" }).answered(200).end(false)
			c.chart(detect.ProvenanceGet, "", func(op *detect.Operation) { op.File = "demo-0.1.0.tgz.prov" }).answered(200).end(true)
			c.chart(detect.ChartInfo, "", func(*detect.Operation) {}).answered(200).end(true)
		}, nil},

		{"each GET is a download", func(s *sim) {
			c := s.client("helm")
			c.download("", "demo-0.1.0.tgz")
			c.download("", "demo-0.1.0.tgz")
		}, []string{"download :0.1.0 demo 0.1.0", "download :0.1.0 demo 0.1.0"}},

		{"a doubtful name, known from index.yaml", func(s *sim) {
			c := s.client("helm")
			c.chart(detect.ChartIndex, "", func(op *detect.Operation) {
				b := []byte("apiVersion: v1\nentries:\n  demo:\n  - name: demo-1.0.0\n    version: \"2\"\n    urls: [charts/demo-1.0.0-2.tgz]\n")
				op.File = "/index.yaml"
				op.Got = detect.Body{Bytes: b, Digest: digestOfBytes(b)}
			}).answered(200).end(true)
			time.Sleep(time.Second)
			c.download("", "demo-1.0.0-2.tgz")
			s.crash()
			c.download("", "demo-1.0.0-2.tgz")
			c.download("other", "demo-1.0.0-2.tgz")
		}, []string{"download :2 demo-1.0.0 2", "download :2 demo-1.0.0 2", "download other:1.0.0-2 demo 1.0.0-2"}},

		{"archives elsewhere, known from index.yaml", func(s *sim) {
			c := s.client("helm")
			get := func(path string) {
				c.chart(detect.ArchiveGet, "", func(op *detect.Operation) { op.File = path }).answered(200).end(true)
			}
			get("/stable/demo-1.0.0.tgz") // no index.yaml has listed it yet
			time.Sleep(time.Second)
			c.chart(detect.ChartIndex, "stable", func(op *detect.Operation) {
				b := []byte("entries:\n  demo:\n  - name: demo\n    version: 1.0.0\n    urls: [demo-1.0.0.tgz]\n" +
					"  - name: demo\n    version: 2.0.0\n    urls: ['../files/x%2B1.tgz?a=b', https://charts.example.com/y.tgz]\n" +
					"  - name: far\n    version: 2.0.0\n    urls: ['https://elsewhere.example.com/far.tgz', '//x.example.com/far.tgz']\n")
				op.File, op.External.Host, op.Got = "/stable/index.yaml", "charts.example.com", detect.Body{Bytes: b, Digest: digestOfBytes(b)}
			}).answered(200).end(true)
			time.Sleep(time.Second)
			get("/stable/demo-1.0.0.tgz")
			get("/files/x+1.tgz")
			s.crash()
			get("/y.tgz")
			get("/far.tgz")
			c.chart(detect.ArchiveGet, "", func(op *detect.Operation) { op.File, op.Whole = "/y.tgz", true }).answered(206).end(true)
			c.chart(detect.ArchiveGet, "", func(op *detect.Operation) { op.File = "/y.tgz" }).answered(206).end(true)
		}, []string{"download stable:1.0.0 demo 1.0.0", "download stable:2.0.0 demo 2.0.0", "download stable:2.0.0 demo 2.0.0", "download stable:2.0.0 demo 2.0.0"}},

		{"archives elsewhere that were uploaded, of an index.yaml without digests", func(s *sim) {
			c := s.client("helm")
			get := func(size int64) {
				c.chart(detect.ArchiveGet, "", func(op *detect.Operation) { op.File, op.Size = "/demo-1.0.0.tgz", size }).answered(200).end(true)
			}
			c.uploading("", "demo", "1.0.0").answered(201).end(true)
			c.chart(detect.ChartIndex, "", func(op *detect.Operation) {
				b := []byte("entries:\n  demo:\n  - name: demo\n    version: 1.0.0\n    urls: [demo-1.0.0.tgz]\n")
				op.File, op.Got = "/index.yaml", detect.Body{Bytes: b, Digest: digestOfBytes(b)}
			}).answered(200).end(true)
			time.Sleep(time.Second)
			get(100)
			s.crash()
			get(100)
			time.Sleep(time.Second)
			get(100)
			get(101) // it was replaced directly at the upstream
		}, []string{
			chartLine("upload", "", "demo", "1.0.0", ""), chartLine("download", "", "demo", "1.0.0", ""), chartLine("download", "", "demo", "1.0.0", ""),
			chartLine("download", "", "demo", "1.0.0", ""), "download :1.0.0 demo 1.0.0",
		}},

		{"206 with all of the bytes", func(s *sim) {
			c := s.client("curl")
			for _, whole := range []bool{true, false} {
				c.chart(detect.ChartGet, "", func(op *detect.Operation) { op.File, op.Whole = "demo-0.1.0.tgz", whole }).answered(206).end(true)
			}
		}, []string{"download :0.1.0 demo 0.1.0"}},

		{"a download without a name", func(s *sim) {
			s.client("curl").download("", "demo.tgz")
		}, []string{"download    unnamed"}},

		{"a doubtful name, known from its upload", func(s *sim) {
			c := s.client("helm")
			c.uploading("", "my-app-2-1.0.0-rc.1", "2").answered(201).end(true)
			s.crash()
			c.download("", "my-app-2-1.0.0-rc.1-2.tgz")
		}, []string{chartLine("upload", "", "my-app-2-1.0.0-rc.1", "2", ""), chartLine("download", "", "my-app-2-1.0.0-rc.1", "2", "")}},

		{"upload lost, and done", func(s *sim) {
			c := s.client("curl")
			r := c.uploading("org/team", "demo", "0.1.0")
			s.chartStands("org/team", "demo", "0.1.0")
			r.lose()
		}, []string{up(" inferred")}},

		{"upload lost, and done; only index.yaml shows it", func(s *sim) {
			s.upstream.noAPI = true
			s.chartStands("org/team", "demo", "0.1.0")
			s.client("curl").uploading("org/team", "demo", "0.1.0").lose()
		}, []string{up(" inferred")}},

		{"upload lost; the chart was there before", func(s *sim) {
			c := s.client("curl")
			c.uploading("org/team", "demo", "0.1.0").answered(201).end(true)
			s.chartStands("org/team", "demo", "0.1.0")
			c.uploading("org/team", "demo", "0.1.0").lose()
		}, []string{up("")}},

		{"upload lost, then 409: the first was done", func(s *sim) {
			c := s.client("curl")
			s.upstream.setDown(errDown)
			r := c.chart(detect.ChartPost, "org/team", func(op *detect.Operation) {
				op.Upload.Chart = &detect.Chart{Name: "demo", Version: "0.1.0", Digest: blobOf("demo0.1.0"), Size: 100}
				op.Before = &detect.Found{Absent: true}
			})
			s.chartStands("org/team", "demo", "0.1.0")
			r.lose()
			c.uploading("org/team", "demo", "0.1.0").answered(409).end(true)
			s.upstream.setDown(nil)
		}, []string{up(" inferred")}},

		{"remove lost, then 404", func(s *sim) {
			c := s.client("curl")
			c.uploading("org/team", "demo", "0.1.0").answered(201).end(true)
			s.upstream.setDown(errDown)
			remove := func(op *detect.Operation) { op.Chart, op.Version = "demo", "0.1.0" }
			c.chart(detect.ChartDelete, "org/team", remove).lose()
			c.chart(detect.ChartDelete, "org/team", remove).answered(404).end(true)
			s.upstream.setDown(nil)
		}, []string{up(""), chartLine("remove", "org/team", "demo", "0.1.0", " inferred")}},

		{"provenance in a form", func(s *sim) {
			s.client("curl").chart(detect.ChartPost, "", func(*detect.Operation) {}).answered(201).end(true)
		}, nil},

		{"not readable: the upstream names it", func(s *sim) {
			s.chartStands("team", "demo", "0.1.0")
			s.client("curl").unread("team", "demo", "0.1.0").answered(201).end(true)
		}, []string{chartLine("upload", "team", "demo", "0.1.0", "")}},

		{"not readable: the upstream names it later, to the next process", func(s *sim) {
			s.client("curl").unread("team", "demo", "0.1.0").answered(201).end(true)
			s.crash()
			time.Sleep(2 * time.Second)
			s.chartStands("team", "demo", "0.1.0")
		}, []string{chartLine("upload", "team", "demo", "0.1.0", "")}},

		{"not readable, and nothing names it", func(s *sim) {
			s.chartStands("other", "demo", "0.1.0")
			s.client("curl").unread("team", "demo", "0.1.0").answered(201).end(true)
		}, []string{"upload team " + blobOf("demo0.1.0") + "   unnamed"}},

		{"not readable, and the look-up fails", func(s *sim) {
			s.upstream.setDown(errDown)
			s.client("curl").unread("team", "demo", "0.1.0").answered(201).end(true)
			time.Sleep(20 * time.Minute)
		}, []string{"upload team " + blobOf("demo0.1.0") + "   unnamed"}},

		{"not readable, and refused", func(s *sim) {
			s.client("curl").unread("team", "demo", "0.1.0").answered(400).end(true)
		}, nil},

		{"not readable, lost, and done", func(s *sim) {
			s.chartStands("team", "demo", "0.1.0")
			s.client("curl").unread("team", "demo", "0.1.0").lose()
		}, []string{chartLine("upload", "team", "demo", "0.1.0", " inferred")}},

		{"not readable, lost, and not done", func(s *sim) {
			s.client("curl").unread("team", "demo", "0.1.0").lose()
		}, nil},

		{"a part of another name counts if the upstream has its chart", func(s *sim) {
			c := s.client("curl")
			s.chartStands("", "held", "0.1.0")
			for _, name := range []string{"held", "claimed"} {
				c.chart(detect.ChartPost, "", func(op *detect.Operation) {
					op.Upload.Chart = &detect.Chart{Name: "sure", Version: name, Digest: blobOf("sure" + name)}
					op.Upload.Others = []detect.Chart{{Name: name, Version: "0.1.0", Digest: blobOf(name + "0.1.0")}}
				}).answered(201).end(true)
			}
			c.chart(detect.ChartPost, "", func(op *detect.Operation) {
				op.Upload.Others = []detect.Chart{{Name: "held", Version: "0.1.0", Digest: blobOf("another")}}
			}).answered(400).end(true)
		}, []string{
			chartLine("upload", "", "sure", "held", ""), chartLine("upload", "", "held", "0.1.0", ""), chartLine("upload", "", "sure", "claimed", ""),
		}},
	})
}

// unread uploads a chart that bellbuoy cannot read.
func (c *client) unread(tenant, name, version string) *request {
	return c.chart(detect.ChartPost, tenant, func(op *detect.Operation) {
		op.Upload = detect.Upload{Chart: &detect.Chart{Digest: blobOf(name + version), Size: 100}, Err: detect.ErrNotChart}
	})
}
