package console

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

// soon is how long a page may take to show something.
const soon = 20 * time.Second

// A browser is somebody at a window, with cookies of their own. What is clicked and written is
// found as people and screen readers find it: by role and name.
//
// All of it is done by JavaScript in the page. Commands about nodes (the DOM and Accessibility
// domains) are not used: Chromium stops for ever when one arrives while a page replaces another.
type browser struct {
	*testing.T
	ctx  context.Context
	base string
}

// open opens a window of somebody who is not logged in. It is closed when the test ends; a test
// that has failed keeps what the window shows.
func open(t *testing.T, base string) *browser {
	t.Helper()
	b := &browser{t, startChromium(t), base}
	t.Cleanup(func() {
		if t.Failed() {
			path, err := b.keepScreenshot(screenshots)
			t.Logf("the page as it is: %s (%v)", path, err)
		}
	})
	b.size(1440, 900)
	return b
}

// startChromium starts a Chromium, which ends with the test.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	flags := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	allocator, end := chromedp.NewExecAllocator(context.Background(), append(flags, chromedp.ExecPath(parts.Path(t, "chromium")), chromedp.NoSandbox, chromedp.DisableGPU,
		// Pages kept for the back button, or made beforehand, answer no commands.
		chromedp.Flag("disable-features", "BackForwardCache,Prerender2,site-per-process,Translate"),
		// Elements know their computedRole and computedName.
		chromedp.Flag("enable-blink-features", "ComputedAccessibilityInfo"))...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	// The browser lives as long as the context of the first call, which thus has no deadline.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*soon)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

// command sends a command to the browser.
func command[P, R any](b *browser, cmd cdp.Command[P, R], params P) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*soon)
	defer cancel()
	if _, err := chromedp.Call(ctx, cmd, params); err != nil {
		b.Fatalf("%s: %v", cmd.Method, err)
	}
}

// screenshots is where failed tests keep what their windows showed.
var screenshots = filepath.Join(os.TempDir(), "bellbuoy-screenshots")

// keepScreenshot keeps what the window shows in a new file of a directory.
func (b *browser) keepScreenshot(dir string) (path string, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, soon)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, strings.ReplaceAll(b.Name(), "/", "-")+"-*.png")
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = f.Write(png)
	return f.Name(), err
}

// theme chooses light or dark.
func (b *browser) theme(name string) {
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// size is that of the window.
func (b *browser) size(width, height int64) { b.do(chromedp.EmulateViewport(width, height)) }

// withoutJavaScript turns the scripts of pages off.
func (b *browser) withoutJavaScript() {
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// visit goes to a path.
func (b *browser) visit(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// value evaluates JavaScript as soon as the page is complete.
func value[V any](b *browser, js string) (v V) {
	b.Helper()
	type result struct {
		Done  bool
		Value V
	}
	var err error
	if !harness.Eventually(soon, func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, soon)
		defer cancel()
		var got result
		got, err = chromedp.Run(ctx, chromedp.Evaluate[result](
			`(async () => document.readyState === "complete" ? {Done: true, Value: await (`+js+`)} : {Done: false})()`, chromedp.EvalAwaitPromise))
		v = got.Value
		return err == nil && got.Done
	}) {
		b.Fatalf("the page gives no value of %.200s: %v", js, err)
	}
	return v
}

// leaves does something that leads to another page, and waits until that is complete.
func (b *browser) leaves(do func()) {
	b.Helper()
	value[bool](b, "window.left = true")
	do()
	if !harness.Eventually(soon, func() bool { return !value[bool](b, "window.left === true") }) {
		b.Fatalf("nothing led away from %s; it says:\n%s", b.path(), b.text())
	}
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

// named is a function of JavaScript: the elements with a role and a name that the page shows.
const named = `((role, name) => [...document.querySelectorAll("a, button, input, select, textarea, summary, [role]")].filter(e =>
	e.checkVisibility({visibilityProperty: true}) && (e.computedRole || e.localName) === role && e.computedName === name))`

// has reports whether the page shows something with a role and a name.
func (b *browser) has(role, name string) bool {
	b.Helper()
	return value[int](b, fmt.Sprintf("%s(%q, %q).length", named, role, name)) > 0
}

// on calls a function of JavaScript on the only element with a role and a name, as soon as there is
// one.
func on[V any](b *browser, role, name, function string) (v V) {
	b.Helper()
	type result struct {
		Found int
		Value V
	}
	var got result
	if !harness.Eventually(soon, func() bool {
		got = value[result](b, fmt.Sprintf("(all => ({Found: all.length, Value: all.length === 1 ? (%s)(all[0]) : undefined}))(%s(%q, %q))", function, named, role, name))
		return got.Found == 1
	}) {
		b.Fatalf("%s has %d %s called %q; it says:\n%s", b.path(), got.Found, role, name, b.text())
	}
	return got.Value
}

// click clicks on something that does not lead to another page.
func (b *browser) click(role, name string) {
	b.Helper()
	problem := on[string](b, role, name, `e => {
		e.scrollIntoView({block: "center", inline: "center"});
		const r = e.getBoundingClientRect(), hit = document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2);
		if (!e.contains(hit) && !hit?.contains(e)) return "something covers it: " + hit?.outerHTML.slice(0, 200);
		e.focus();
		e.click();
		return "";
	}`)
	if problem != "" {
		b.Fatalf("%s %q cannot be clicked; %s", role, name, problem)
	}
}

// follow clicks on something that leads to another page.
func (b *browser) follow(role, name string) {
	b.Helper()
	b.leaves(func() { b.click(role, name) })
}

// fill writes into a field, in place of what it holds.
func (b *browser) fill(name, text string) {
	b.Helper()
	on[bool](b, "textbox", name, `e => { e.focus(); e.select(); return true }`)
	if text == "" {
		b.press("\b")
		return
	}
	b.write(text)
}

// write writes into the field that has the keyboard.
func (b *browser) write(text string) {
	b.Helper()
	command(b, input.InsertText, input.InsertTextParams{Text: text})
}

// holds returns what a field holds.
func (b *browser) holds(name string) string {
	b.Helper()
	return on[string](b, "textbox", name, `e => e.value`)
}

// option is a function of JavaScript that chooses an option of a list, and reports whether there is
// one.
func option(text string) string {
	label, _ := json.Marshal(text)
	return `e => { const o = [...e.options].find(o => o.text.trim() === ` + string(label) + `); if (!o) return false; e.value = o.value;
		e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); return true }`
}

// choose chooses an option of a list.
func (b *browser) choose(name, text string) {
	b.Helper()
	if !on[bool](b, "combobox", name, option(text)) {
		b.Fatalf("%s has no option %q", name, text)
	}
}

// tick ticks a box, or takes its tick away.
func (b *browser) tick(name string, ticked bool) {
	b.Helper()
	if on[bool](b, "checkbox", name, `e => e.checked`) != ticked {
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

// visitUntil goes to a path, again and again until the page says a text.
func (b *browser) visitUntil(path, text string) {
	b.Helper()
	if !harness.Eventually(soon, func() bool { b.visit(path); return strings.Contains(b.text(), text) }) {
		b.Fatalf("%s never says %q; it says:\n%s", path, text, b.text())
	}
}

// saysNot fails if the page says one of the texts.
func (b *browser) saysNot(texts ...string) {
	b.Helper()
	page := b.text()
	for _, text := range texts {
		if strings.Contains(page, text) {
			b.Errorf("%s says %q:\n%s", b.path(), text, page)
		}
	}
}

// at fails if the page has another path.
func (b *browser) at(prefix string) {
	b.Helper()
	if path := b.path(); !strings.HasPrefix(path, prefix) {
		b.Fatalf("the page is %s, not %s; it says:\n%s", path, prefix, b.text())
	}
}

// row is the text of the row of a table that has a link with a name.
func (b *browser) row(name string) string {
	b.Helper()
	return strings.Join(strings.Fields(on[string](b, "link", name, `e => e.closest("tr").innerText`)), " ")
}

// logIn logs in, and shows the overview.
func (b *browser) logIn(user, password string) {
	b.Helper()
	b.visit("/login")
	b.fill("User", user)
	b.fill("Password", password)
	b.follow("button", "Log in")
	if !b.has("button", "Log out") {
		b.Fatalf("%s is not logged in:\n%s", user, b.text())
	}
}

// press presses keys, one after the other.
func (b *browser) press(keys ...string) {
	b.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// backTo presses Shift and Tab until an element with a name has the keyboard.
func (b *browser) backTo(name string) {
	b.Helper()
	for range 80 {
		b.do(chromedp.KeyEvent("\t", chromedp.KeyModifiers(chromedp.ModifierShift)))
		if b.focused() == name {
			return
		}
	}
	b.Fatalf("no Shift+Tab leads to %q", name)
}

// focused is the name of the element that has the keyboard.
func (b *browser) focused() string {
	b.Helper()
	return value[string](b, `document.activeElement?.computedName ?? ""`)
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
	type violation struct {
		ID, Help string
		Nodes    []struct{ HTML, FailureSummary string }
	}
	source, err := os.ReadFile(parts.Path(b.T, "axe"))
	if err != nil {
		b.Fatal(err)
	}
	// Source of scripts is no expression; in a function it can be where one is expected.
	found := value[[]violation](b, `(async () => {`+string(source)+`;
		const r = await axe.run();
		return r.violations.map(v => ({ID: v.id, Help: v.help, Nodes: v.nodes.map(n => ({HTML: n.html, FailureSummary: n.failureSummary}))}));
	})()`)
	for _, v := range found {
		for _, n := range v.Nodes {
			b.Errorf("%s: %s (%s): %.300s\n%s", b.path(), v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}
