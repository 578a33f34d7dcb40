package track

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// list is a GET of the tags of a repository. body "" stands for an answer that was not kept: a part
// of the list, or a list that is too long.
func (c *client) list(repository, body string) {
	c.begin(detect.TagsList, repository, "", func(op *detect.Operation) {
		if body != "" {
			op.Got = detect.Body{Bytes: []byte(body)}
		}
	}).answered(200).end(true)
}

func tagsList(tags ...string) string {
	b, _ := json.Marshal(map[string]any{"name": "app", "tags": tags})
	return string(b)
}

// A repository counts as indexed while the last list of its tags named only tags that the tag index
// has.
func TestListOfTags(t *testing.T) {
	for name, tt := range map[string]struct {
		run  func(s *sim, c *client)
		want bool
	}{
		"each tag was pushed": {func(_ *sim, c *client) { c.list("app", tagsList("v1", "v2")) }, true},
		"one of them was deleted later": {func(_ *sim, c *client) {
			c.del("app", "v2")
			c.list("app", tagsList("v1"))
		}, true},
		"no list":         {func(*sim, *client) {}, false},
		"a part of it":    {func(_ *sim, c *client) { c.list("app", "") }, false},
		"no list of tags": {func(_ *sim, c *client) { c.list("app", `{"errors":[]}`) }, false},
		"another tag":     {func(_ *sim, c *client) { c.list("app", tagsList("v1", "v2", "v3")) }, false},
		"of a mirror":     {func(_ *sim, c *client) { c.beginList("app", "docker.io") }, false},
		"a tag put again directly at the upstream": {func(_ *sim, c *client) {
			c.del("app", "v2")
			time.Sleep(time.Second)
			c.list("app", tagsList("v1", "v2"))
		}, false},
		"another tag, which is read then": {func(s *sim, c *client) {
			s.has("app", s.image("three", "l3"), "v3")
			c.list("app", tagsList("v1", "v2", "v3"))
			c.get("app", "v3")
			time.Sleep(time.Minute)
			c.list("app", tagsList("v1", "v2", "v3"))
		}, true},
		"another tag appears": {func(_ *sim, c *client) {
			c.list("app", tagsList("v1", "v2"))
			time.Sleep(time.Hour)
			c.list("app", tagsList("v1", "v2", "v3"))
		}, false},
		"the store fails": {func(s *sim, c *client) {
			s.ledger.fails(errDown)
			c.list("app", tagsList("v1", "v2"))
			time.Sleep(time.Second)
			s.ledger.fails(nil)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t)
				c := s.client("crane")
				c.put("app", "v1", s.image("one", "l1"))
				c.put("app", "v2", s.image("two", "l2"))
				tt.run(s, c)
				time.Sleep(time.Second)
				if got := s.Indexed(context.Background(), "up", "", "app"); got != tt.want {
					t.Errorf("got the indexed repositories %v", got)
				}
				s.finish()
			})
		})
	}
}

// beginList is a list for a mirror of another registry.
func (c *client) beginList(repository, hint string) {
	c.begin(detect.TagsList, repository, "", func(op *detect.Operation) {
		op.Hint, op.Got = hint, detect.Body{Bytes: []byte(tagsList())}
	}).answered(200).end(true)
}
