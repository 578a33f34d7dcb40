package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// Package config imports no formats; its own list of the types of each format must be right.
func TestConfigKnowsTheTypesOfEachFormat(t *testing.T) {
	for _, name := range format.Names() {
		f, err := format.New(name, "w", format.Options{Template: "{}"})
		if err != nil {
			t.Fatal(err)
		}
		var says []string
		for _, kind := range f.Says() {
			says = append(says, string(kind))
		}
		if want := config.FormatEvents(name); !slices.Equal(says, want) {
			t.Errorf("%s: the format has the types %v, config.FormatEvents %v", name, says, want)
		}
	}
}

// check runs templates, prints URLs with their placeholders filled, and explains what is wrong with
// either.
func TestCheckOfFormats(t *testing.T) {
	for webhook, want := range map[string]string{
		"format: template, format_options: {text: '{{json .tgas}}'}":                                                             `webhooks[0].format_options: text:1:7: executing "text" at <.tgas>: map has no entry for key "tgas" (tried with a PUSH_ARTIFACT event)`,
		"format: template, format_options: {text: '{{.type}}'}":                                                                  "text: its output is not JSON: line 1: ",
		"url: 'https://h.example.com/secret-0123456789/{repository}?tag={tag}', preset: portainer, match: {repositories: [a/b]}": "webhook w: PUSH_ARTIFACT of bellbuoy/ping:v1.0.0 goes to https://h.example.com/…/bellbuoy%2Fping?tag=v1.0.0",
		"url: 'https://h.example.com/{image}'":                                                                                   "url: has the placeholder {image}; there are {tag} {digest} {repository} {namespace} {name} {type}",
		"format: quay, events: [DELETE_ARTIFACT]":                                                                                "webhooks[0].events[0]: the format quay does not support it; it supports PUSH_ARTIFACT",
	} {
		if !strings.HasPrefix(webhook, "url") {
			webhook = "url: 'https://h.example.com/', " + webhook
		}
		file := filepath.Join(t.TempDir(), "bellbuoy.yaml")
		text := "upstreams: [{type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}]\nwebhooks: [{name: w, " + webhook + "}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		run(t.Context(), []string{"check", "-c", file}, system{Stdout: &out, Stderr: &out, LookupEnv: os.LookupEnv})
		if !strings.Contains(out.String(), want) {
			t.Errorf("check of a webhook with %s: got\n%s\nwant a line with %s", webhook, out.String(), want)
		}
	}
}
