package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/format/presets"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

func newPresetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "preset [NAME]",
		Short: "List the presets, or show one",
		Long: "A preset sets format, events, filters and headers of a webhook for a known receiver. Without a NAME: list the\n" +
			"presets. With one: show the YAML that it stands for, and a sample of what it sends.",
		Example: "  bellbuoy preset\n  bellbuoy preset flux",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return presets.Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listPresets(a.Stdout)
			}
			p, ok := presets.Get(args[0])
			if !ok {
				return fmt.Errorf("there is no preset %q; there are %s", args[0], strings.Join(presets.Names(), ", "))
			}
			return showPreset(a.Stdout, p)
		},
	}
}

func listPresets(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PRESET\tFOR\tDESCRIPTION")
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, p.Title, p.About)
	}
	return t.Flush()
}

func showPreset(w io.Writer, p presets.Preset) error {
	written, err := presetYAML(p)
	if err != nil {
		return err
	}
	sample, err := presetSample(p)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "# %s: %s\n# %s\n", p.Title, p.About, p.Link)
	fmt.Fprintln(w, "# It needs external_url of the upstream: the consumer identifies images by that name.")
	for _, need := range p.Needs {
		fmt.Fprintf(w, "# It needs %s, as %s.\n", needText(need), need.Why)
	}
	fmt.Fprintf(w, "%s\n# A sample of its POST:\n\n%s", written, sample)
	return nil
}

func needText(n presets.Need) string {
	if n.Contains == "" {
		return n.Key
	}
	return n.Key + " with " + n.Contains
}

// presetYAML returns the webhook of a preset's example, without the preset.
func presetYAML(p presets.Preset) (string, error) {
	var webhook, example yaml.MapSlice
	if err := yaml.Unmarshal([]byte(p.Webhook), &webhook); err != nil {
		return "", err
	}
	if err := yaml.Unmarshal([]byte(p.Example), &example); err != nil {
		return "", err
	}
	all := overlaid(yaml.MapSlice{{Key: "name", Value: p.Name}}, example)
	for _, item := range webhook {
		all = overlaid(all, yaml.MapSlice{item})
	}
	out, err := yaml.MarshalWithOptions(map[string]any{"webhooks": []any{all}}, yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(true))
	return string(out), err
}

// overlaid returns base with the keys of over, also within mappings that both have.
func overlaid(base, over yaml.MapSlice) yaml.MapSlice {
	out := slices.Clone(base)
	for _, item := range over {
		i := slices.IndexFunc(out, func(b yaml.MapItem) bool { return b.Key == item.Key })
		if i < 0 {
			out = append(out, item)
			continue
		}
		both, isMap := out[i].Value.(map[string]any)
		more, isMapToo := item.Value.(map[string]any)
		if isMap && isMapToo {
			both = maps.Clone(both)
			maps.Copy(both, more)
			out[i].Value = both
		}
	}
	return out
}

// presetSample returns the POST of a sample event with a preset's example, as far as the format
// decides it.
func presetSample(p presets.Preset) (string, error) {
	w, err := presetWebhook(p)
	if err != nil {
		return "", err
	}
	f, err := new(manage.Builder).Format(w)
	if err != nil {
		return "", err
	}
	contentType, header, body, err := f.Render(format.Sample(detect.Type(w.Events[0])), 0)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "Content-Type: %s\n", contentType)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&out, "%s: %s\n", name, header[name])
	}
	fmt.Fprintf(&out, "\n%s\n", strings.TrimRight(string(body), "\n"))
	return out.String(), nil
}

// presetWebhook returns the webhook of a preset's example.
func presetWebhook(p presets.Preset) (*config.Webhook, error) {
	file := "upstreams: [{type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}]\n" +
		"webhooks:\n  - name: " + p.Name + "\n    preset: " + p.Name + "\n    " + strings.ReplaceAll(strings.TrimSpace(p.Example), "\n", "\n    ") + "\n"
	c, _, err := config.Parse(p.Name+".yaml", []byte(file), func(string) (string, bool) { return "a-secret", true })
	if err != nil {
		return nil, err
	}
	return &c.Webhooks[0], nil
}
