# make help lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GET     := go run ./test/parts/get
TALLY   := go run ./test/tally

# What takes the least CPU time to compile; parts.Quick builds the rest of the demo with the same. With
# GOGC=400 the compiler collects garbage less often, which saves a sixth.
QUICK   := all=-N -l -dwarf=false

TEST_PARTS  := gcc curl registry chartmuseum crane helm3 helm4 oras cm-push conformance regctl cosign postgres skopeo podman \
               buildah docker dockerd containerd ctr wrk regsync docker-registry htpasswd nginx haproxy promtool compose-spec grype \
               gofakes3 git gitea caddy chromium axe goreleaser cyclonedx-gomod debian
BENCH_PARTS := registry crane caddy nginx haproxy postgres

FUZZTIME ?= 30s
CHAOS    ?= 20m
SOAK     ?= 30m

.PHONY: help build check test generate demo man release-files snapshot bench pgo chaos soak fuzz fmt vet lint quick-lint vuln clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## bin/bellbuoy
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/bellbuoy ./cmd/bellbuoy

man: ## the manual pages, into bin/man
	mkdir -p bin/man
	go run -ldflags "$(LDFLAGS)" ./cmd/bellbuoy man bin/man

# What archives and packages hold besides the binary. The completions of a shell are small programs
# that ask bellbuoy.
release-files:
	rm -rf bin/man bin/completions; mkdir -p bin/man bin/completions
	CGO_ENABLED=0 go build -trimpath -o bin/release-files ./cmd/bellbuoy
	bin/release-files man bin/man
	gzip -9n bin/man/*
	for shell in bash zsh fish; do bin/release-files completion $$shell > bin/completions/bellbuoy.$$shell; done

snapshot: ## dist/: archives, Debian packages, checksums and SBOMs, for linux on amd64 and arm64
	PATH="$$(dirname $$($(GET) cyclonedx-gomod)):$$PATH" GOFLAGS= $$($(GET) goreleaser) release --snapshot --clean --skip=publish

check: fmt vet ## the quick inner loop: unit tests and lint
	$(TALLY) -short ./...
	@$(MAKE) --no-print-directory quick-lint

# Unit tests with the race detector, tests with real programs, and three further modules: charts read by
# Helm's loader, the code of receivers, and a browser at the console. One tally counts all of them.
test: fmt vet lint ## everything: race detector, real registries and clients, recorded traffic
	$(GET) $(TEST_PARTS) >/dev/null
	$(TALLY) -race -timeout 20m $$(go list ./... | grep -v /bellbuoy/test) -- -count=1 -timeout 30m ./test/... \
	  -- -C test/helm ./... -- -C test/consumers -mod=mod -count=1 -timeout 10m . -- -C test/console -mod=mod -count=1 -timeout 15m .

# The pages of docs/reference, the JSON schema and the OpenAPI document. Tests fail while they are not current.
generate: ## what is made from the code: reference pages, JSON schema, OpenAPI
	go generate ./...

demo: ## see it work with a real registry and ChartMuseum (ONCE=1: exit afterwards)
	@echo "Compiling with Go (the first time: 770 MB of modules into $$(go env GOMODCACHE), 320 MB into $$(go env GOCACHE))"
	@CGO_ENABLED=0 GOFLAGS= GOGC=400 go run -trimpath -gcflags='$(QUICK)' ./test/demo $(if $(ONCE),-once)

bench: ## bellbuoy beside nginx, HAProxy and Caddy, against its budgets
	$(GET) $(BENCH_PARTS) >/dev/null
	go run ./test/bench

# The profile by which go build optimises. Take it again after changes of the hot paths, and keep it
# only if BenchmarkManifestGet of proxy is faster with it (go test -c -pgo=FILE, alternating). More
# samples help: the profile in the tree is the sum of two (go tool pprof -proto FILE FILE).
pgo: ## take the profile for go build
	$(GET) $(BENCH_PARTS) >/dev/null
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	go run ./test/bench -rounds 1 -peers bellbuoy -time 10s -profiles "$$dir" -only manifest-get,manifest-put,blob-down-tls,blob-down-h2,blob-up,fanout,growth; \
	go tool pprof -proto "$$dir"/*.pprof > cmd/bellbuoy/default.pgo

chaos: ## kills and full disks for CHAOS=20m
	BELLBUOY_CHAOS=$(CHAOS) go test -count=1 -v -timeout 0 -run '^TestChaos' ./test/faults

soak: ## real clients, failing receivers and reloads for SOAK=30m
	BELLBUOY_SOAK=$(SOAK) go test -count=1 -v -timeout 0 ./test/soak

fuzz: ## every fuzz target for FUZZTIME=30s
	for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
	    echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

fmt:
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "gofmt these:"; echo "$$files"; exit 1; }

vet:
	go vet ./...

lint: ## golangci-lint
	$$($(GET) golangci-lint) run ./...

quick-lint:
	@if path=$$($(GET) -q golangci-lint 2>/dev/null); then echo golangci-lint run; $$path run ./...; \
	else echo "golangci-lint is not installed; make lint fetches it"; fi

vuln: ## govulncheck
	$$($(GET) govulncheck) ./...

clean:
	rm -rf bin dist
