# Start with `make run` and `make test`. `make help` lists all targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The race detector needs a C compiler. Everything else needs only Go.
RACE := $(shell command -v "$$(go env CC 2>/dev/null)" >/dev/null 2>&1 && echo -race)
test := $(if $(RACE),CGO_ENABLED=1) go test $(RACE) -vet=off
# All other commands share their compiled packages, because they compile in the same way.
export CGO_ENABLED := 0
export GOFLAGS := $(GOFLAGS) -trimpath
FUZZTIME ?= 60s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
versions := github.com/prometheus/common/version
LDFLAGS := -s -w -X $(versions).Version=$(VERSION) -X $(versions).Revision=$(REVISION)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/deepaffects_exporter
	go build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/deepaffects_exporter ./cmd/exporter

.PHONY: telegraf
telegraf: ## Build bin/telegraf-deepaffects, the plugin for Telegraf's inputs.execd
	go build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/telegraf-deepaffects ./cmd/telegraf-deepaffects

.PHONY: run
run: build ## Run the exporter on its embedded simulator, without key or configuration
	@bin/deepaffects_exporter --demo

# What the race detector leaves out: tests about memory, which it takes, and much to compute in one goroutine.
unraced := ./internal/jobstatus ./internal/submission ./internal/source ./internal/replica/model ./cmd/bench-schedule

.PHONY: test
test: ## Run all tests that need only Go (with the race detector if there is a C compiler)
	@$(if $(RACE),,echo 'no C compiler: testing without the race detector')
	$(test) ./...
	cd deploy/mixin && go test ./...
	$(if $(RACE),go test $(unraced))

.PHONY: long-test
long-test: ## Run all tests with more days, cases and repetitions
	LONG=1 $(test) -timeout 0 ./...
	$(if $(RACE),LONG=1 go test -timeout 0 $(unraced))

.PHONY: lint
lint: ## Check for conflict markers and formatting, vet, and lint
	@! git grep -nIE '^(<<<<<<<|[|]{7}|>>>>>>>)( |$$)|^=======$$' || { echo 'conflict markers'; exit 1; }
	@test -z "$$(gofmt -l .)" || { echo 'not formatted:'; gofmt -l .; exit 1; }
	go vet -tags e2e,soak ./...
	go build -modfile=tools/go.mod -o .cache/staticcheck honnef.co/go/tools/cmd/staticcheck
	.cache/staticcheck -tags e2e,soak ./...
	cd e2e/telegraf && go vet ./...
	cd e2e/browser && go vet -tags e2e ./...
	cd deploy/mixin && go vet ./...
	go build -modfile=tools/go.mod -o .cache/readme_linter github.com/influxdata/telegraf/tools/readme_linter
	go build -modfile=tools/go.mod -o .cache/actionlint github.com/rhysd/actionlint/cmd/actionlint
	.cache/actionlint
	.cache/readme_linter plugins/inputs/deepaffects/README.md

.PHONY: e2e
e2e: build telegraf ## Test the built programs with real Prometheus 2 and 3, Alertmanager, Telegraf, InfluxDB and Chromium, and the store with a real PostgreSQL (installs Debian packages; needs root and Node.js)
	e2e/install.sh
	e2e/telegraf.sh
	$(MAKE) --no-print-directory -j 2 -O e2e-programs e2e-replicas # most of their time they wait
	cd e2e/browser && go test -tags e2e -count=1 .

.PHONY: e2e-programs
e2e-programs:
	go test -tags e2e -count=1 -timeout 30m ./e2e

.PHONY: e2e-replicas
e2e-replicas:
	DAMAGES=10 go test -count=1 -run TestDamages ./internal/store/sqlite
	go test -tags e2e -count=1 ./internal/store/postgres ./internal/store/transfer
	go test -tags e2e -count=1 -run 'Postgres|TestReplica|CopyTo' ./internal/replica ./collector ./cmd/exporter \
		./internal/httpapi ./plugins/inputs/deepaffects

CRASHES ?= 1000
.PHONY: crash-test
crash-test: build ## Kill the exporter with -9 under load CRASHES times, and check that nothing is lost
	CRASHES=$(CRASHES) go test -tags e2e -count=1 -timeout 0 -run TestCrashes -v ./e2e

.PHONY: reload-test
reload-test: build ## Reload the exporter 10,000 times under load
	RELOADS=10000 go test -tags e2e -count=1 -timeout 0 -run TestReloads -v ./e2e

.PHONY: siege
siege: build ## Attack the exporter for a minute with gzip bombs, slow connections and wrong tokens
	SIEGE=60 go test -tags e2e -count=1 -timeout 0 -run TestSiege -v ./e2e

FAULTS ?= 135
SHARES ?= 60,40,20,10,5
.PHONY: replicas-test
replicas-test: build ## Let three exporters on one PostgreSQL meet FAULTS faults: killed, paused, cut off, and a database that restarts or fails over, in these SHARES
	FAULTS=$(FAULTS) SHARES=$(SHARES) go test -tags e2e -count=1 -timeout 0 -run 'TestReplicas$$' -v ./e2e

.PHONY: database-cost
database-cost: ## Measure what JOBS=3000 jobs, three replicas and their messages cost a PostgreSQL, at the pace of a million a day (13 minutes)
	go test -tags e2e -run '^$$' -bench DatabaseCost -benchtime $(or $(JOBS),3000)x -timeout 0 ./internal/jobs
	go test -tags e2e -run '^$$' -bench DatabaseCost -benchtime 1000x -timeout 0 ./collector

SOAK ?= 60m
.PHONY: soak
soak: ## For SOAK, let two exporters, one of them with the race detector, meet all faults that we know, and compare them with the truth (needs root and a C compiler)
	SOAK=$(SOAK) go test -tags e2e,soak -count=1 -timeout 0 -run TestSoak -v ./e2e

.PHONY: memory-test
memory-test: build ## Send the worst bodies from all sides at once for a minute, in a cgroup of 256 MiB (Linux, root)
	MEMORY=60 go test -tags e2e -count=1 -timeout 0 -run TestMemoryInCgroup -v ./e2e

.PHONY: telegraf-test
telegraf-test: telegraf ## Telegraf, compiled in and through execd: killed with -9 30 times, two on one database that are stopped and killed in turn, with an output that is down beside one that is up, and the rate at which a backlog is written
	e2e/telegraf.sh
	KILLS=30 go test -tags e2e -count=1 -timeout 0 -run 'TestTelegraf(Killed|OutputDown|Backlog|Replicas)' -v ./e2e

.PHONY: damage-test
damage-test: ## Damage a store and its log in 500 places of each kind, flip a bit of every byte, and truncate it at every length
	TMPDIR=/dev/shm DAMAGES=500 EVERY=1 go test -count=1 -timeout 0 -run 'TestDamages|TestFlippedBits|TestTruncation' -v ./internal/store/sqlite

.PHONY: model
model: ## Explore all models of the protocol of replicas: some minutes, and up to 7 GB of memory
	go run ./internal/replica/model

.PHONY: fuzz
fuzz: ## Fuzz every parser, for FUZZTIME each
	@for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "$$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package || exit 1; \
	  done; \
	done

.PHONY: bench
bench: ## Run the benchmarks
	go test -run '^$$' -bench . -benchmem ./internal/jobstatus ./internal/exposition ./internal/jobs ./internal/schedule

bench := go test -run '^$$' -bench
.PHONY: bench-peers
bench-peers: ## Compare each performance goal with a peer in the same run (two to four minutes), and write the table to docs/performance.md
	@mkdir -p .cache
	@set -o pipefail; { \
	  $(bench) '^Benchmark(DecodeStatus|Peers)$$/(compact|pretty|encoding)' -count 3 ./internal/jobstatus && \
	  $(bench) '^Benchmark(Backlog|Decision)$$' -benchtime 10000x ./internal/schedule && \
	  $(bench) '^Benchmark(Register|BareInsert|Poll)$$' -benchtime 20000x -count 3 ./internal/jobs && \
	  $(bench) '^BenchmarkResult$$' -benchtime 500x -count 3 ./internal/jobs && \
	  $(bench) '^BenchmarkScrape$$' -benchtime 3x ./internal/exposition && \
	  $(bench) '^BenchmarkPages$$/(overview|no_hit|a_look)/^1000000$$' -benchtime 10x ./internal/statuspage && \
	  $(bench) '^BenchmarkRegister$$' -benchtime 40000x ./collector && \
	  $(bench) '^Benchmark(Pending|Start)$$' -benchtime 1x ./collector; \
	} | tee .cache/bench-peers.txt
	go run ./cmd/bench-peers docs/performance.md <.cache/bench-peers.txt

.PHONY: mixin
mixin: ## Compile the rules, alerts and dashboards below deploy/ from deploy/mixin
	cd deploy/mixin && go tool jsonnetfmt -i *.*sonnet */*.libsonnet && go tool jsonnet -S -m .. compile.jsonnet

.PHONY: size
size: build ## Measure memory and disk usage of a large store
	e2e/size.sh

.PHONY: screenshots
screenshots: build ## Make the screenshots of README.md anew, with Chromium
	e2e/screenshots.sh

TRACES ?= cmd/bench-schedule/testdata
OUT ?= /dev/null
.PHONY: bench-schedule
bench-schedule: ## Run the scheduler over the traces in TRACES, in virtual time, and write the results as JSON to OUT
	@go run ./cmd/bench-schedule -out $(OUT) $(TRACES)

.PHONY: docs
docs: ## Generate docs/metrics.md from the metric catalogue, and the plugin's sample.conf and README from sample.conf
	awk -v RS= '!/Exporter only/ { if (n++) print ""; print }' sample.conf >plugins/inputs/deepaffects/sample.conf
	go build -modfile=tools/go.mod -o tools/readme_config_includer/generator github.com/influxdata/telegraf/tools/readme_config_includer
	go generate ./...

.PHONY: deploy-test
deploy-test: build ## Check the Dockerfile, the compose files, the dashboards' schema, the Kubernetes manifests and the systemd unit
	@set -o pipefail; systemd-analyze security --offline=true --threshold=20 --no-pager deploy/systemd/deepaffects-exporter.service | tail -n 1
	@for module in deploy/compose deploy/mixin/schema deploy/kubernetes; do \
	  (cd $$module && go vet ./... && go test -count=1 ./...) || exit 1; \
	done

.PHONY: compile-deploy-test
compile-deploy-test:
	@for module in deploy/mixin/schema deploy/kubernetes; do (cd $$module && go test -p 1 -run '^$$' ./...) || exit 1; done

ARCH ?= $(shell go env GOARCH)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
# Maintainer of the packages. The project has no address of its own: set one if you publish the packages.
# A workflow without the variable passes it empty.
export MAINTAINER := $(or $(MAINTAINER),Nobody in particular <nobody@deepaffects-monitor.invalid>)
packed = ARCH=$(ARCH) VERSION=$(VERSION) REVISION=$(REVISION) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH)
.PHONY: packages
packages: export GOARCH := $(ARCH)
packages: build telegraf ## Build debs and rpms below .cache/packages (optional: ARCH=arm64, MAINTAINER='Name <address>')
	cd deploy/packages && GOARCH= go build -o ../../.cache/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
	$(packed) deploy/packages/build.sh

.PHONY: package-test
package-test: packages ## Rebuild and compare the packages; install, run, upgrade and purge them in a separate Debian (needs root)
	$(packed) deploy/packages/test-reproducible.sh
	e2e/telegraf.sh
	$(packed) deploy/packages/test.sh

.PHONY: release
release: ## Build packages, binaries, the Helm chart, SBOMs and SHA-256 sums below .cache/release
	cd deploy/packages && go build -o ../../.cache/cyclonedx-gomod github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
	cd deploy/kubernetes && go build -o ../../.cache/helm helm.sh/helm/v3/cmd/helm
	VERSION=$(VERSION) deploy/release.sh

.PHONY: image-test
image-test: ## Build the Dockerfile and run the image, with a separate podman (needs root)
	deploy/image/test.sh

.PHONY: clean
clean: ## Remove build output
	rm -rf bin .cache
