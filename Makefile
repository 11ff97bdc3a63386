# Everything a contributor types. Each target prints what it does, works twice, and installs or names what it needs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.cache/bin:$(PATH)

FUZZTIME ?= 60s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
tool := go tool -modfile=$(CURDIR)/tools/go.mod
need := @bash tools/need.sh
# What `go test -json` wrote, as one plain line: go: 941 passed, 0 failed. The SDK and the page print their own.
closing = cd tools && go run ./closing

.PHONY: help
help: ## list the targets
	@echo "make TARGET:"; sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r t d; do printf '%-14s %s\n' "$$t" "$$d"; done

.PHONY: build run
build: ## build bin/presence
	@mkdir -p bin
	go build -trimpath -buildvcs=false -ldflags "-X main.version=$(VERSION)" -o bin/presence ./cmd/presence

run: ## a private Redis, two nodes and the demo page, until Ctrl-C
	$(need) redis-server
	@$(MAKE) build
	@exec bash tools/run.sh

.PHONY: test test-go test-sdk test-web
test: test-go test-sdk test-web ## all tests: Go, SDK, page in a browser
	@echo "all suites passed:"; cat .cache/go.line .cache/sdk.line .cache/web.line

test-go: ## Go tests: unit, on a real Redis, end to end through HAProxy
	$(need) redis-server haproxy gcc
	@mkdir -p .cache && rm -f .cache/go.*
	cd tools && go test ./...
	s=0; $(tool) gotestsum --format pkgname --no-color --jsonfile .cache/go.json -- -count=1 -p 1 ./... || s=$$?; \
	  $(closing) go ../.cache/go.json | tee ../.cache/go.line; exit $$s

test-sdk: clients/js/node_modules build ## the SDK's tests, in Node and in Chromium
	$(need) redis-server chromium
	@mkdir -p .cache && rm -f .cache/sdk.line
	cd clients/js && { npm test && npm run test:browser; } | tee ../../.cache/sdk.log
	@grep -E '^sdk(-browser)?: ' .cache/sdk.log >.cache/sdk.line

test-web: web/test/node_modules build ## the demo page in headless Chromium, two tabs on two nodes
	$(need) redis-server chromium
	@mkdir -p .cache && rm -f .cache/web.line
	cd web/test && npm test | tee ../../.cache/web.log
	@grep '^page: ' .cache/web.log >.cache/web.line

%/node_modules: %/package-lock.json %/package.json
	cd $* && npm ci
	@touch $@

.PHONY: fmt
fmt: ## format all Go files
	$(tool) gofumpt -w $$(git ls-files -co --exclude-standard '*.go')

.PHONY: check check-go check-sdk check-other check-deploy check-vuln
check: check-go check-sdk check-other check-deploy check-vuln ## linters, stale generated files, deploy files, vulnerabilities
	@echo "check: all well"

check-go: ## gofumpt, vet, staticcheck, tidy
	@echo "gofumpt"; f=$$($(tool) gofumpt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$f" ] || { echo "\`make fmt\` would change:"; echo "$$f"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	cd tools && go vet ./...
	for m in . tools tools/deploy tools/vuln; do (cd $$m && go mod tidy -diff); done

check-sdk: clients/js/node_modules ## the SDK's types, lint, size, and the package as published
	cd clients/js && npm run check

check-other: ## Lua, shell, C, generated files
	$(need) luacheck shellcheck gcc
	luacheck -q scripts
	shellcheck -x tools/*.sh .ci/run
	gcc -std=c11 -O2 -Wall -Wextra -Werror -o .cache/floor tools/floor/floor.c
	bash tools/stale.sh

check-deploy: ## Dockerfile, compose file, HAProxy's file
	$(need) haproxy
	cd tools/deploy && go vet ./... && go test -count=1 ./...
	EDGE_BIND=127.0.0.1:9000 NODE1=127.0.0.1:9001 NODE2=127.0.0.1:9002 haproxy -c -dW -f deploy/haproxy/haproxy.cfg

check-vuln: ## known vulnerabilities in what our code calls (offline)
	@bash tools/vuln.sh

.PHONY: race fuzz faults faults-short model bench bench-smoke
race: ## Go tests under the race detector; without those of other processes: e2e's nodes, redistest's servers
	$(need) redis-server haproxy gcc
	@mkdir -p .cache
	s=0; CGO_ENABLED=1 $(tool) gotestsum --format pkgname --no-color --jsonfile .cache/race.json -- -race -count=1 -p 1 $$(go list ./... | grep -vE '/(e2e|internal/redistest)$$') || s=$$?; \
	  $(closing) race ../.cache/race.json; exit $$s

fuzz: ## each fuzz target for FUZZTIME (60s)
	@FUZZTIME=$(FUZZTIME) bash tools/fuzz.sh

faults: build ## long fault suite, all faults of Sentinel and Cluster, race of the scripts: kill, pause, cut and flood three real nodes
	$(need) redis-server
	go run ./internal/faults/suite --long --program bin/presence
	go run ./internal/faults/suite --redis sentinel --only . --program bin/presence
	go run ./internal/faults/suite --redis cluster --only . --program bin/presence
	go test -count=1 ./internal/model -run TestRace -v -args -race.duration=60s -race.conns=300

faults-short: build ## the same with few clients and a failover each: what CI runs
	$(need) redis-server
	go run ./internal/faults/suite --tell --program bin/presence
	go run ./internal/faults/suite --tell --program bin/presence --redis sentinel --only "^master of the nodes' slot killed"
	go run ./internal/faults/suite --tell --program bin/presence --redis cluster --only "^master of the nodes' slot killed"

model: ## check the presence machine in Promela, and that each guard is needed
	$(need) spin gcc
	bash tools/model.sh

bench: .cache/bench-floor build ## measure against the C floor; prints a table, writes bench/results.json
	bin/presence bench --floor .cache/bench-floor --out bench/results.json

bench-smoke: .cache/bench-floor build ## the same with few connections and short rounds: does the harness still run?
	bin/presence bench --smoke --floor .cache/bench-floor --out .cache/bench-smoke.json

.cache/bench-floor: tools/floor/floor.c
	$(need) redis-server gcc
	gcc -std=c11 -O2 -Wall -Wextra -o $@ $<

.PHONY: gen sdk web clean
gen: sdk web docs ## make every generated file anew

sdk: clients/js/node_modules ## build the JavaScript SDK
	cd clients/js && npm run build

web: clients/js/node_modules ## put the SDK into the demo page
	cd clients/js && npm run build:web

.PHONY: docs
docs: ## write the reference pages
	go generate ./...
	go test . -run TestTheErrorsPageIsTheTable -update

clean: ## remove everything that is built
	rm -rf bin .cache .run bench/results.json clients/js/dist clients/js/node_modules web/test/node_modules
