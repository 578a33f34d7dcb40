package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// soon is how long a page may take to show something.
const soon = 20 * time.Second

// startChromium starts a Chromium, which ends with the test.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	// Pages that Chromium keeps for the back button, or makes beforehand, answer no commands.
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(flags, chromedp.ExecPath(parts.Path(t, "chromium")), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-features", "BackForwardCache,Prerender2,site-per-process,Translate"))...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	// The browser lives as long as the context of the first call, which thus has no deadline.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// A browser is somebody at a window, with cookies of their own. What is clicked and written is
// found as people and screen readers find it: by role and name.
type browser struct {
	*testing.T
	ctx  context.Context
	base string
}

// open opens a window of somebody who is not logged in.
func open(t *testing.T, base string) *browser {
	t.Helper()
	b := &browser{t, startChromium(t), base}
	t.Cleanup(func() {
		if t.Failed() {
			b.keepScreenshot(strings.ReplaceAll(t.Name(), "/", "-"))
		}
	})
	b.do(chromedp.EmulateViewport(1440, 900))
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*soon)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.answers(err)
		b.Fatal(err)
	}
}

// answers ends the test without a verdict if err says that Chromium answers no commands. Headless
// Chromium stops now and then on machines without a graphics card, whatever the page is.
func (b *browser) answers(err error) {
	b.Helper()
	if errors.Is(err, context.DeadlineExceeded) {
		b.Skipf("Chromium answers no more: %v", err)
	}
}

// command sends a command to the browser.
func command[P, R any](b *browser, cmd cdp.Command[P, R], params P) R {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*soon)
	defer cancel()
	result, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		b.answers(err)
		b.Fatalf("%s: %v", cmd.Method, err)
	}
	return result
}

// keepScreenshot keeps what a page looks like.
func (b *browser) keepScreenshot(name string) {
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	dir := filepath.Join(os.TempDir(), "bellbuoy-screenshots")
	path := filepath.Join(dir, name+".png")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, png, 0o644)
	}
	b.Logf("the page as it is: %s (%v)", path, err)
}

// theme chooses light or dark.
func (b *browser) theme(name string) {
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// size is that of the window.
func (b *browser) size(width, height int64) { b.do(chromedp.EmulateViewport(width, height)) }

// withoutJavaScript turns scripts off.
func (b *browser) withoutJavaScript() {
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// visit goes to a path.
func (b *browser) visit(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// value evaluates JavaScript, again if the page is being replaced by another.
func value[V any](b *browser, js string) (v V) {
	b.Helper()
	var err error
	if !harness.Eventually(soon, func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
		defer cancel()
		v, err = chromedp.Run(ctx, chromedp.Evaluate[V](js, chromedp.EvalAwaitPromise))
		return err == nil
	}) {
		b.answers(err)
		b.Fatalf("%s: %v", js, err)
	}
	return v
}

// path is that of the page, with its query.
func (b *browser) path() string {
	b.Helper()
	return value[string](b, "location.pathname + location.search")
}

// text is what the page says.
func (b *browser) text() string {
	b.Helper()
	return value[string](b, `document.body?.innerText ?? ""`)
}

// find returns the element with a role and a name, as soon as there is one.
func (b *browser) find(role, name string) cdp.BackendNodeID {
	b.Helper()
	var found []cdp.BackendNodeID
	if !harness.Eventually(soon, func() bool { found = b.all(role, name); return len(found) > 0 }) {
		b.Fatalf("the page has no %s called %q; it says:\n%s", role, name, b.text())
	}
	return found[0]
}

// all returns the elements with a role and a name that the page shows now. A page that is being
// replaced by another has none.
func (b *browser) all(role, name string) (found []cdp.BackendNodeID) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
	defer cancel()
	document, err := chromedp.Call(ctx, dom.GetDocument, dom.GetDocumentParams{})
	if err != nil {
		return nil
	}
	got, err := chromedp.Call(ctx, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{BackendNodeID: document.Root.BackendNodeID, Role: role, AccessibleName: name})
	if err != nil {
		return nil
	}
	for _, n := range got.Nodes {
		if !n.Ignored {
			found = append(found, n.BackendDOMNodeID)
		}
	}
	return found
}

// on calls a function of JavaScript on what has a role and a name, again if the page is being
// replaced by another.
func (b *browser) on(role, name, function string) (v any) {
	b.Helper()
	var err error
	if !harness.Eventually(soon, func() bool {
		v, err = b.tryOn(b.find(role, name), function)
		return err == nil
	}) {
		b.Fatalf("%s %q: %v", role, name, err)
	}
	return v
}

func (b *browser) tryOn(node cdp.BackendNodeID, function string) (v any, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	object, err := chromedp.Call(ctx, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: node})
	if err != nil {
		return nil, err
	}
	byValue := true
	got, err := chromedp.Call(ctx, runtime.CallFunctionOn, runtime.CallFunctionOnParams{ObjectID: object.Object.ObjectID, FunctionDeclaration: function, ReturnByValue: &byValue})
	switch {
	case err != nil:
		return nil, err
	case got.ExceptionDetails != nil:
		return nil, errors.New(got.ExceptionDetails.Text)
	case len(got.Result.Value) > 0:
		err = json.Unmarshal(got.Result.Value, &v)
	}
	return v, err
}

// click clicks on what has a role and a name.
func (b *browser) click(role, name string) {
	b.Helper()
	b.on(role, name, `function() { this.scrollIntoView({block: "center"}); this.focus(); (this.closest("summary, a, button, label") ?? this).click() }`)
}

// fill writes into a field, in place of what it holds.
func (b *browser) fill(name, text string) {
	b.Helper()
	b.on("textbox", name, `function() { this.focus(); this.select() }`)
	if text == "" {
		b.do(chromedp.KeyEvent("\b"))
		return
	}
	command(b, input.InsertText, input.InsertTextParams{Text: text})
}

// holds returns what a field holds.
func (b *browser) holds(name string) string {
	b.Helper()
	s, _ := b.on("textbox", name, `function() { return this.value }`).(string)
	return s
}

// choose chooses an option of a list.
func (b *browser) choose(name, option string) {
	b.Helper()
	label, _ := json.Marshal(option)
	if done := b.on("combobox", name, `function() { const o = [...this.options].find(o => o.text.trim() === `+string(label)+`); if (!o) return false; this.value = o.value;
		this.dispatchEvent(new Event("input", {bubbles: true})); this.dispatchEvent(new Event("change", {bubbles: true})); return true }`); done != true {
		b.Fatalf("%s has no option %q", name, option)
	}
}

// tick ticks a box, or takes its tick away.
func (b *browser) tick(name string, on bool) {
	b.Helper()
	if b.on("checkbox", name, `function() { return this.checked }`) != on {
		b.click("checkbox", name)
	}
}

// says waits until the page says all texts.
func (b *browser) says(texts ...string) {
	b.Helper()
	for _, text := range texts {
		if !harness.Eventually(soon, func() bool { return strings.Contains(b.text(), text) }) {
			b.Fatalf("%s does not say %q; it says:\n%s", b.path(), text, b.text())
		}
	}
}

// at waits until the page has a path.
func (b *browser) at(prefix string) {
	b.Helper()
	if !harness.Eventually(soon, func() bool { return strings.HasPrefix(b.path(), prefix) }) {
		b.Fatalf("the page is %s, not %s; it says:\n%s", b.path(), prefix, b.text())
	}
}

// row is the text of the row of a table that has a link with a name.
func (b *browser) row(name string) string {
	b.Helper()
	s, _ := b.on("link", name, `function() { return this.closest("tr").innerText }`).(string)
	return strings.Join(strings.Fields(s), " ")
}

// logIn begins a session and shows the first page. The form is sent from here, and the browser gets
// its cookie: Chromium stops now and then after a login form, also one of another server.
func (b *browser) logIn(user, password string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.ctx, http.MethodPost, b.base+"/login", strings.NewReader(url.Values{"user": {user}, "password": {password}}.Encode()))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.base)
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	answer.Body.Close()
	if len(answer.Cookies()) == 0 {
		b.Fatalf("no session for %s: %s", user, answer.Status)
	}
	for _, c := range answer.Cookies() {
		command(b, network.SetCookie, network.SetCookieParams{Name: c.Name, Value: c.Value, URL: b.base})
	}
	b.visit("/")
	b.find("button", "Log out")
}

// press presses keys, one after the other.
func (b *browser) press(keys ...string) {
	b.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// focused is the name of the element that has the keyboard.
func (b *browser) focused() string {
	b.Helper()
	return value[string](b, `(e => e?.getAttribute("aria-label") || e?.labels?.[0]?.textContent.trim() || e?.textContent.trim() || "")(document.activeElement)`)
}

// tabTo presses Tab until an element with a name has the keyboard.
func (b *browser) tabTo(name string) {
	b.Helper()
	for range 80 {
		b.press("\t")
		if b.focused() == name {
			return
		}
	}
	b.Fatalf("no Tab leads to %q", name)
}

// axe fails for everything that hinders people on the page.
func (b *browser) axe() {
	b.Helper()
	b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[any](axeSource(b.T)))
		return err
	}))
	type violation struct {
		ID    string `json:"id"`
		Help  string `json:"help"`
		Nodes []struct {
			HTML           string `json:"html"`
			FailureSummary string `json:"failureSummary"`
		} `json:"nodes"`
	}
	ctx, cancel := context.WithTimeout(b.ctx, 3*soon)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]violation]("axe.run().then(r => r.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.map(n => ({html: n.html, failureSummary: n.failureSummary}))})))", chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range found {
		for _, n := range v.Nodes {
			b.Errorf("%s: %s (%s): %.300s\n%s", b.path(), v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

func axeSource(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(parts.Path(t, "axe"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "; undefined"
}
