package docpage

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	p := New("none", "Title", "go test")
	p.Table([]string{"Key", "Values"}, [][]string{{Code("order"), "`tag` | `none`"}, {"two\nlines", ""}})
	want := "# Title\n\n| Key | Values |\n|---|---|\n| `order` | `tag` \\| `none` |\n| two<br>lines |  |\n\n"
	if got := p.text.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestBlockWithAFence(t *testing.T) {
	p := New("none", "Title", "go test")
	p.Block("text", "a\n```\nb\n")
	if got, want := p.text.String(), "````text\na\n```\nb\n````\n"; !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDifferencesAreFound(t *testing.T) {
	for _, tc := range []struct{ got, want, says string }{
		{"a\nb\n", "a\nb\n", ""},
		{"a\nb\n", "a\nc\n", "line 2 is\nb\nand should be\nc"},
		{"a", "a\nb", "line 2 is\n(the end)\nand should be\nb"},
		{"a\nb", "a", "line 2 is\nb\nand should be\n(the end)"},
	} {
		says, equal := firstDifference(tc.got, tc.want)
		if says != tc.says || equal != (tc.says == "") {
			t.Errorf("%q and %q: %q %v, want %q", tc.got, tc.want, says, equal, tc.says)
		}
	}
}
