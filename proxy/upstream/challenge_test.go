package upstream

import (
	"reflect"
	"testing"
)

func TestParseChallenges(t *testing.T) {
	type params = map[string]string
	for _, test := range []struct {
		header string
		want   []challenge
	}{
		{`Basic realm="Registry Realm"`, []challenge{{"basic", params{"realm": "Registry Realm"}}}},
		{`Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"`,
			[]challenge{{"bearer", params{"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"}}}},
		{`bearer realm = "x" , error="insufficient_scope"`, []challenge{{"bearer", params{"realm": "x", "error": "insufficient_scope"}}}},
		{`Bearer realm=https://a/t,service=s`, []challenge{{"bearer", params{"realm": "https://a/t", "service": "s"}}}},
		{`Negotiate, Basic realm="a, Bearer realm=\"b\"", Bearer realm="c"`, []challenge{
			{"negotiate", params{}}, {"basic", params{"realm": `a, Bearer realm="b"`}}, {"bearer", params{"realm": "c"}}}},
		{`Bearer realm="a",realm="b"`, []challenge{{"bearer", params{"realm": "a"}}}},
		{`Bearer realm="unclosed`, []challenge{{"bearer", params{"realm": "unclosed"}}}},
		{`realm="no scheme"`, nil},
		{`,,`, nil},
		{``, nil},
	} {
		if got := parseChallenges([]string{test.header}); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\n got %v\nwant %v", test.header, got, test.want)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"`, `Basic realm="\"x"`, `Negotiate abc==, Basic a="b"`, `=,"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		found := parseChallenges([]string{header})
		if len(found) > maxChallenges {
			t.Errorf("%d challenges", len(found))
		}
		size := 0
		for _, c := range found {
			size += len(c.scheme)
			if len(c.params) > maxParams || c.scheme == "" {
				t.Errorf("got the challenge %+v", c)
			}
			for name, value := range c.params {
				size += len(name) + len(value)
			}
		}
		if size > 2*len(header) {
			t.Errorf("%d bytes out of %d", size, len(header))
		}
	})
}
