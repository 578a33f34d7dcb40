package console

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"hash/maphash"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates holds the pages by name: each is templates/NAME.html together with the layout and the
// shared parts.
type templates map[string]*template.Template

// parsedTemplates are parsed at the first page.
var parsedTemplates = sync.OnceValue(parseTemplates)

func parseTemplates() templates {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err) // they are part of the program
	}
	all := templates{}
	for _, path := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "templates/"), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		all[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, path))
	}
	return all
}

// pageData is what the layout shows.
type pageData struct {
	Title   string
	Tab     string // entry of the navigation that is current
	Bare    bool   // without the navigation
	Body    any
	Notice  string // what the last action has done
	Account string
	Token   string // of forms
	Paused  bool   // notifications.enabled is false
	Path    string
}

// render writes a page, or only its live part to the script that refreshes it. It is made as a
// whole first: an error leaves no half of a page behind.
func (v *pageRequest) render(status int, name string, p pageData) {
	part := "layout"
	if status == http.StatusOK && v.Header.Get("X-Fragment") == "live" && parsedTemplates()[name].Lookup("live") != nil {
		part = "live"
	}
	v.execute(status, name, part, v.fill(p))
}

// fragment writes the part of a page that its template defines as part.
func (v *pageRequest) fragment(name, part string, body any) {
	v.execute(http.StatusOK, name, part, v.fill(pageData{Body: body}))
}

func (v *pageRequest) fill(p pageData) pageData {
	p.Account, p.Token = v.by.Name, access.FormToken(v.Context())
	p.Path = v.URL.Path
	p.Bare = p.Bare || !v.by.Knows()
	p.Paused = !p.Bare && v.c.Delivering != nil && !v.c.Delivering()
	if p.Notice == "" {
		p.Notice = noticeOf(v.URL.Query())
	}
	return p
}

func (v *pageRequest) execute(status int, name, part string, p pageData) {
	page, err := executed(name, part, p)
	if err != nil {
		v.c.Log.Error("page not made", zap.String("page", name), zap.Error(err))
		http.Error(v.w, "this page could not be made; the log has the reason", http.StatusInternalServerError)
		return
	}
	if v.made != nil {
		v.made()
	}
	h := v.w.Header()
	if status == http.StatusOK && v.Method == http.MethodGet {
		tag := tagOf(page)
		h.Set("ETag", tag)
		if v.Header.Get("If-None-Match") == tag {
			v.w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	writes := http.NewResponseController(v.w)
	_ = writes.SetWriteDeadline(time.Now().Add(writePatience)) // tests' writers have none
	v.w.WriteHeader(status)
	_, _ = v.w.Write(page) // fails only if the client has disconnected, or reads nothing
	_ = writes.SetWriteDeadline(time.Time{})
}

// executed returns what a part of a template makes of data.
func executed(name, part string, data any) ([]byte, error) {
	var out bytes.Buffer
	err := parsedTemplates()[name].ExecuteTemplate(&out, part, data)
	return clean(out.Bytes()), err
}

var tagSeed = maphash.MakeSeed()

// tagOf is the entity tag of a page. The script that refreshes it sends the tag back and gets no
// page if nothing has changed. It differs from process to process.
func tagOf(page []byte) string { return fmt.Sprintf(`"%016x"`, maphash.Bytes(tagSeed, page)) }

// redirect leads to another page after a change.
func (v *pageRequest) redirect(path string, query url.Values) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	http.Redirect(v.w, v.Request, path, http.StatusSeeOther)
}

// plainText is the text of an error for people, without the error that it wraps.
func plainText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	for _, kind := range []error{errBadRequest, manage.ErrConflict, manage.ErrForbidden, manage.ErrNotFound} {
		if errors.Is(err, kind) {
			text = strings.TrimPrefix(strings.TrimPrefix(text, kind.Error()), ": ")
		}
	}
	return text
}
