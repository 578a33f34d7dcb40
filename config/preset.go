package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/format/presets"
)

// applyPreset sets the values of a webhook's preset, before the webhook's own keys are decoded.
func (d *decoder) applyPreset(n *node, w *Webhook, at string) {
	if n.kind != mapping {
		return
	}
	i := slices.IndexFunc(n.keys, func(k key) bool { return k.name == "preset" })
	if i < 0 {
		return
	}
	p, ok := presets.Get(d.plain(n.keys[i].value))
	if !ok {
		return // the key itself is decoded later and reports the problem
	}
	found := &findings{file: p.Name + ".yaml", bad: map[string]bool{}}
	own := &decoder{findings: found, expander: d.expander, places: map[string]place{}, spots: map[string]spot{}}
	own.block(readTree([]byte(p.Webhook), found), reflect.ValueOf(w).Elem(), at)
	if _, err := found.result(); err != nil {
		// A test decodes all presets.
		panic(fmt.Sprintf("preset %s: %v", p.Name, err))
	}
}

// preset checks that the webhook has the keys that its preset needs, and that external_url is set,
// because consumers look images up by that name.
func (v *validator) preset(at string, w Webhook) {
	if w.Preset == "" {
		return
	}
	for i, u := range v.cfg.Upstreams {
		sends := len(w.Match.Upstreams) == 0 || slices.Contains(w.Match.Upstreams, u.Name)
		if sends && u.ExternalURL == "" {
			v.wrong(at+".preset", "needs external_url of upstreams[%d]: the consumer identifies images by that name", i)
		}
	}
	p, _ := presets.Get(w.Preset)
	for _, need := range p.Needs {
		value := presetValue(w, need.Key)
		switch {
		case value == "":
			v.wrong(at+"."+need.Key, "is missing: the preset %s needs it, as %s", w.Preset, need.Why)
		case !strings.Contains(value, need.Contains):
			v.wrong(at+"."+need.Key, "has no %s: the preset %s needs it, as %s", need.Contains, w.Preset, need.Why)
		}
	}
}

// presetValue returns the webhook's value of a key that presets may need.
func presetValue(w Webhook, key string) string {
	switch key {
	case "auth_header":
		return w.AuthHeader.Reveal()
	case "url":
		return w.URL.Reveal()
	case "match.repositories":
		return strings.Join(w.Match.Repositories, " ")
	}
	panic("presets need " + key + ", which is not known here")
}
