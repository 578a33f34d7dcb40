package config

import (
	"fmt"
	"reflect"
	"slices"

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
		return // the problem is reported when the key itself is decoded
	}
	found := &findings{file: p.Name + ".yaml", bad: map[string]bool{}}
	own := &decoder{findings: found, expander: d.expander, places: map[string]place{}, scalars: map[string]rawScalar{}}
	own.block(readTree([]byte(p.Webhook), found), reflect.ValueOf(w).Elem(), at)
	if _, err := found.result(); err != nil {
		// A test decodes all presets.
		panic(fmt.Sprintf("preset %s: %v", p.Name, err))
	}
}

// plain returns a scalar's expanded value. Decoding reports a value that cannot be expanded.
func (d *decoder) plain(n *node) string {
	if n.kind == text && expands(n.value) {
		if value, _, err := (&expander{env: d.expander.env}).expand(n.value); err == nil {
			return value
		}
	}
	return n.value
}
