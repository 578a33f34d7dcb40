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

// Upload is what the body of a chart's upload holds.
type Upload struct {
	// Chart is the body itself, or the form's part "chart". Without a name it could not be read, and Err
	// says why. Nil: there is none.
	Chart *Chart
	// Others are archives in parts of other names, which some ChartMuseums may be told to take. Those
	// that could not be read have no name.
	Others []Chart
	Err    error
}

// Empty reports whether there is no chart in it: provenance alone.
func (u *Upload) Empty() bool { return u.Chart == nil && len(u.Others) == 0 }

const (
	maxArchives   = 4        // archives in parts of other names that are read
	maxPartHeader = 64 << 10 // bytes of a part's header
)

// ReadUpload reads the body of a chart's upload to its end, as ChartMuseum does: a form's first file of
// the name "chart", and of other forms of body all of it. Provenance is nothing.
func ReadUpload(contentType string, body io.Reader) Upload {
	up := unpackingOf(maxUnpacked).upload(contentType, body)
	_, _ = io.Copy(io.Discard, body) // somebody may be writing it
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

// formBoundary reads a Content-Type as ChartMuseum does.
func formBoundary(contentType string) (boundary string, form bool) {
	if i := strings.IndexAny(contentType, " ;"); i < 0 || contentType[:i] != "multipart/form-data" {
		return "", contentType == "multipart/form-data"
	}
	_, params, _ := mime.ParseMediaType(contentType)
	return params["boundary"], true
}

// part reads a part that is a file. A part without a file name is a field, for every server.
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
