SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

SETUP := internal/testbed/setup
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOLANGCI_LINT := v2.15.0
IMAGE ?= synapse-maint:$(VERSION)
SCALE ?= 1
FUZZTIME ?= 20s
# Of the container image; buildah takes the same arguments.
ENGINE ?= $(firstword $(foreach e,docker podman buildah,$(shell command -v $(e))))

.PHONY: help setup build test race lint fmt fuzz demo bench image clean

help: ## Show this page
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## Install what tests and demo need on Debian 12 or 13; quick when it is there
	@$(SETUP)/packages.sh

build: ## Build bin/synapse-maint
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/synapse-maint ./cmd/synapse-maint

# -count=1: the test cache does not know of the program that tests build and run.
test: setup ## Run every test against real PostgreSQL and a real S3 server
	go vet ./...
	go test -count=1 -timeout 50m ./...

race: ## Run every test with the race detector
	@$(SETUP)/packages.sh race
	CGO_ENABLED=1 go test -race -count=1 -timeout 60m ./...

lint: ## Check style, errors and imports (builds golangci-lint at the first time)
	@lint=$$($(SETUP)/golangci-lint.sh $(GOLANGCI_LINT)); echo golangci-lint run; "$$lint" run

fmt: ## Format the code as lint wants it
	@lint=$$($(SETUP)/golangci-lint.sh $(GOLANGCI_LINT)); "$$lint" fmt

fuzz: ## Fuzz every parser for FUZZTIME each
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "$$name in $$(dirname "$$file")"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null; \
		done; done

demo: setup build ## Back up, lose and restore a throwaway database, with all commands shown
	@go run ./internal/demo

bench: build ## Measure against peers, which it installs; SCALE=1 is a database of 1 GB
	@$(SETUP)/packages.sh bench
	@go run ./internal/bench -scale $(SCALE) -out docs/benchmarks.md

image: ## Build the container image with ENGINE: docker, podman or buildah
	@[ -n "$(ENGINE)" ] || { echo "image: neither docker nor podman nor buildah is installed" >&2; exit 1; }
	"$(ENGINE)" build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

clean: ## Remove what was built; the caches stay
	rm -rf bin dist .demo .bench
