package detect

import (
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"strings"
)

// Upload is what the body of an upload of a chart holds.
type Upload struct {
	// Chart is the body itself, or the part "chart" of the form. A chart that could not be read
	// has no name, and Err says why. Nil: there is none.
	Chart *Chart
	// Others are archives in parts of other names, which a ChartMuseum may be configured to
	// accept. Those that could not be read have no name.
	Others []Chart
	Err    error
}

// Empty reports whether the upload holds no chart, but at most provenance.
func (u *Upload) Empty() bool { return u.Chart == nil && len(u.Others) == 0 }

const (
	maxArchives   = 4        // archives in parts of other names that are read
	maxPartHeader = 64 << 10 // bytes of a part's header
)

// ReadUpload reads the body of an upload to its end, as ChartMuseum does: of a form, the first file
// of the name "chart"; of another body, all of it. Provenance does not count.
func ReadUpload(contentType string, body io.Reader) Upload {
	up := unpackingOf(maxUnpacked).upload(contentType, body)
	_, _ = io.Copy(io.Discard, body) // so that the writer of a pipe is not blocked
	return up
}

func (u *unpacking) upload(contentType string, body io.Reader) (up Upload) {
	boundary, form := formBoundary(contentType)
	if !form {
		up.Chart, up.Err = u.chart(body)
		return up
	}
	in := &meter{r: body, u: &unpacking{bytes: math.MaxInt64}}
	parts := multipart.NewReader(in, boundary)
	for {
		in.most = maxPartHeader
		part, err := parts.NextPart()
		if err != nil {
			return up
		}
		in.most = math.MaxInt64
		up.part(u, part)
		_, _ = io.Copy(io.Discard, part)
	}
}

// formBoundary returns the boundary of a form, read from the Content-Type as ChartMuseum does.
func formBoundary(contentType string) (boundary string, form bool) {
	if i := strings.IndexAny(contentType, " ;"); i < 0 || contentType[:i] != "multipart/form-data" {
		return "", contentType == "multipart/form-data"
	}
	_, params, _ := mime.ParseMediaType(contentType)
	return params["boundary"], true
}

// part reads a part of a form if it is a file. A part without a file name is a field.
func (up *Upload) part(u *unpacking, part *multipart.Part) {
	name := part.FormName()
	switch {
	case name == "" || part.FileName() == "" || name == "prov":
	case name == "chart" && up.Chart == nil:
		up.Chart, up.Err = u.chart(part)
	case name != "chart" && len(up.Others) < maxArchives:
		c, err := u.chart(part)
		if c == nil || errors.Is(err, errNoArchive) {
			return
		}
		if up.Err == nil && err != nil {
			up.Err = fmt.Errorf("part %q: %w", bounded(name), err)
		}
		up.Others = append(up.Others, *c)
	}
}
