# Porchlight: `make` alone prints the targets.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/bin/tools:$(PATH)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/porchlight
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SUITE ?=
SEED ?= 1

.PHONY: help
help: ## print the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

##### tools

bin/tools/%: e2e/go.mod e2e/go.sum
	@mkdir -p bin/tools
	go build -C e2e -o ../bin/tools/ $(TOOL)

bin/tools/staticcheck: TOOL = honnef.co/go/tools/cmd/staticcheck
bin/tools/controller-gen: TOOL = sigs.k8s.io/controller-tools/cmd/controller-gen
bin/tools/helm: TOOL = helm.sh/helm/v3/cmd/helm

.PHONY: tools
tools: bin/tools/staticcheck bin/tools/controller-gen bin/tools/helm ## build the pinned tools into bin/tools

##### the loop to live in

.PHONY: build
build: ## build the programs into bin/
	go build -ldflags '-X github.com/porchlight-lb/porchlight/internal/version.Version=$(VERSION)' -o bin/porchlight ./cli

.PHONY: check
check: bin/tools/staticcheck ## format, lint, unit, property and golden tests
	@bad=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); if [ -n "$$bad" ]; then echo "gofmt -w these:"; echo "$$bad"; exit 1; fi
	go vet ./...
	bin/tools/staticcheck ./...
	go test ./...

.PHONY: test
test: check ## everything
