# make help lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LINT    := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# make soak ROUNDS=2000 FUZZTIME=5m for a longer night.
ROUNDS   ?= 300
FUZZTIME ?= 1m
# For how long a database is in trouble, of each kind.
FAULT    ?= 60s
# How many packages are tested at a time: many of their tests wait, for a clock or a client.
TOGETHER ?= 3
# How long one package's tests, and all of them together, may take.
TEST_TIMEOUT ?= 10m
TEST_LIMIT   ?= 18m

.DEFAULT_GOAL := build
.PHONY: help build web run deps test test-mongo check bench soak fuzz clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

build: web ## bin/magpie, one static file
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/magpie ./cmd/magpie

# The web client is built in once there is one.
web:
ifneq ($(wildcard web/package.json),)
	cd web && npm ci --no-audit --no-fund && npm run build
endif

run: build ## a server to play with, and what to type into two terminals
	bin/magpie serve --demo

deps: ## what the tests need: Debian packages (as root) and npm ones
	.ci/deps

test: deps ## every test, with real clients; those of whole nodes on both stores
	timeout --kill-after=30s $(TEST_LIMIT) $(MAKE) --no-print-directory test-embedded test-nodes

# The packages whose tests run whole nodes.
NODES         ?= ./broker ./cmd/magpie ./hooks ./e2e/...
MONGO_TIMEOUT ?= 30m

.PHONY: mongotest test-embedded test-nodes
# Built before tests want it, so that it is built once, and not on their time.
mongotest:
	@test -n "$${MAGPIE_TEST_MONGO_URI:-}" || go run -C tools/mongotest . </dev/null >/dev/null

test-embedded:
	@echo "store: the embedded one"
	MAGPIE_TEST_ALL=1 go test -vet=off -p $(TOGETHER) -count=1 -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -v /store/mongo)

# At sizes that the test server bears in a few minutes. All sizes are for make test-mongo and make soak.
test-nodes: mongotest
	@echo "store: $(MONGO)"
	MAGPIE_TEST_STORE=mongo MAGPIE_TEST_ROUNDS=1 go test -short -vet=off -p $(TOGETHER) -count=1 -timeout $(TEST_TIMEOUT) \
		./store/mongo/... $(NODES)

MONGO = $(if $(MAGPIE_TEST_MONGO_URI),the server of MAGPIE_TEST_MONGO_URI,tools/mongotest (FerretDB v1, not MongoDB))

test-mongo: mongotest ## the tests of the store and of whole nodes on MongoDB: MAGPIE_TEST_MONGO_URI, or tools/mongotest
	@echo "store: $(MONGO)"
	go test -count=1 -timeout $(MONGO_TIMEOUT) ./store/mongo/...
	MAGPIE_TEST_STORE=mongo go test -count=1 -p 1 -timeout $(MONGO_TIMEOUT) $(NODES)

check: mongotest ## format, vet, lint and the quick tests, in a few minutes
	@files=$$(git ls-files --cached --others --exclude-standard -- '*.go' | xargs -r gofmt -l); \
		test -z "$$files" || { echo "not in gofmt's format:" $$files; exit 1; }
	go mod tidy -diff
	go vet ./...
	$(LINT) run ./...
	go test -race -shuffle=on -short -timeout $(TEST_TIMEOUT) ./...

bench: ## the numbers of docs/benchmarks.md
	go run ./bench
	go test ./bench -run - -bench . -skip 'Riders|Lamps' -benchtime 20x -timeout 30m
	go test ./bench -run - -bench 'Riders|Lamps' -benchtime 1x -timeout 30m

soak: deps mongotest fuzz ## the long random and crash runs: ROUNDS=300 FUZZTIME=1m FAULT=60s
	MAGPIE_TEST_ALL=1 MAGPIE_TEST_ROUNDS=$(ROUNDS) go test -count=1 -timeout 12h ./...
	MAGPIE_TEST_ALL=1 MAGPIE_TEST_STORE=mongo MAGPIE_TEST_FAULT=$(FAULT) go test -count=1 -p 1 -timeout 12h $(NODES)

fuzz: ## every fuzz target for FUZZTIME=1m
	.ci/fuzz $(FUZZTIME)

clean: ## remove what was built
	rm -rf bin
