# `make run` and `make test` install what they need; see README.md.

SHELL := bash
# rustup installs cargo here; a shell started before does not have it in its path.
export PATH := $(HOME)/.cargo/bin:$(PATH)
# The tests that drive servers wait most of their time, so there are more of them than cores.
CORES := $(shell getconf _NPROCESSORS_ONLN)
export NEXTEST_TEST_THREADS ?= $(shell expr 4 \* $(CORES))
# Packages with their own lock file.
OTHER_PACKAGES := benches/baseline benches/redis-clients examples/origin-rust examples/rust

# One selection of packages and features for all debug builds, so that no dependency is built twice.
# clients/rust/test.sh has the same.
CLIENT_FEATURES := testing,larder-client/otel,larder-client/tower,larder-client/http-cache
WORKSPACE := --locked --workspace --features larder-client/$(CLIENT_FEATURES)
BUILD := cargo build $(WORKSPACE) --tests --bins

# Builds the server and the checker, and runs the checker.
CHECKER := $(BUILD) && target/debug/checker

.DEFAULT_GOAL := help
.PHONY: help run install demo docs test unit integration soak planted polyglot clients \
	soak-clients check browser prometheus dashboards references lint fmt mutants fuzz instructions \
	bench bench-clients bench-cluster bench-redis-clients bench-security sbom package deploy \
	measure-costs measure-fleet size clean \
	setup lint-files clippy doc build-tests nextest doctest

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{ printf "  make %-20s %s\n", $$1, $$2 }'

run: ## Run the server on the embedded store; ARGS="--store redis://localhost" passes flags
	@scripts/setup.sh build
	cargo run --locked -- $(ARGS)

install: ## Build for production, and install larder into ~/.cargo/bin (or PREFIX/bin)
	@scripts/setup.sh build
	cargo install --locked --path . $(if $(PREFIX),--root "$(PREFIX)")

test: ## Run all tests, with their own redis-server
	@scripts/setup.sh build test
	$(MAKE) nextest doctest polyglot clients

unit: ## Run the unit tests and the documentation tests
	cargo test $(WORKSPACE) --lib --bins
	$(MAKE) doctest

integration: ## Run the tests that drive the real binary; TEST=name selects some
	"$$(scripts/tools.sh cargo-nextest)" nextest run $(WORKSPACE) --test it $(TEST)

soak: ## Inject faults and check every answer; SOAK=2h OPS=1000000 TOPOLOGY=cluster SEED=7
	@scripts/setup.sh build test
	$(CHECKER) --time $(or $(SOAK),2m) $(if $(OPS),--operations $(OPS)) \
		$(if $(TOPOLOGY),--topology $(TOPOLOGY)) $(if $(SEED),--seed $(SEED)) \
		$(if $(WITHOUT),--without $(WITHOUT))

planted: ## Check servers with planted faults until each is found; BUG=name TOPOLOGY=cluster
	@scripts/setup.sh build test
	cargo build --locked -p larder --features planted-bugs
	mkdir -p target/checker
	cp target/debug/larder target/checker/larder-planted
	cargo run --locked -p checker -- --server target/checker/larder-planted \
		--planted $(or $(BUG),all) $(if $(TOPOLOGY),--topology $(TOPOLOGY)) \
		$(if $(SEED),--seed $(SEED))

polyglot: ## Run the Python, Node, Go, Java, grpcurl and grpc_health_probe clients
	$(MAKE) build-tests
	tests/polyglot.sh

clients: ## Test the client libraries; ONLY=python or ONLY="node conformance" selects
	$(MAKE) build-tests
	clients/test.sh $(ONLY)

browser: ## Test the dashboard in Chromium; ONLY=actions selects, SCREENSHOTS=1 writes docs/images
	@scripts/setup.sh build test browser
	$(MAKE) build-tests
	tests/browser/run.sh $(if $(SCREENSHOTS),--screenshots,$(ONLY))

soak-clients: ## Run the clients at full speed through restarts and outages; TIME=10m
	$(MAKE) build-tests
	clients/test.sh --setup
	LARDER_BIN=$(CURDIR)/target/debug/larder \
		PYTHON=$(CURDIR)/target/clients/python-venv/bin/python \
		clients/fleet/soak.sh $(if $(TIME),TIME=$(TIME))

prometheus: ## Test dashboards, alerts and runbooks, with a real Prometheus
	@scripts/setup.sh build test
	"$$(scripts/tools.sh cargo-nextest)" nextest run $(WORKSPACE) --test it -E 'test(/^monitoring::/)'

dashboards: ## Write deploy/grafana/dashboards from the list of metrics
	@scripts/setup.sh build
	UPDATE_DASHBOARDS=1 "$$(scripts/tools.sh cargo-nextest)" nextest run $(WORKSPACE) --test it \
		-E 'test(=monitoring::dashboards::the_files_are_generated)'

references: ## Write docs/reference from the list of metrics and the keys of the configuration
	@scripts/setup.sh build
	UPDATE_REFERENCES=1 "$$(scripts/tools.sh cargo-nextest)" nextest run $(WORKSPACE) \
		-E 'test(=monitoring::metric_page::the_page_is_generated) + \
			test(=config::tests::reference::the_page_is_generated)'

check: ## Run everything that must pass before a change lands
	scripts/check.sh

lint: ## Check formatting, lints, documentation, protos, packaging and dependencies
	@scripts/setup.sh build
	$(MAKE) lint-files clippy doc

demo: ## Run a fleet with load to look at, until Ctrl-C; TIME=60 ends it after a minute
	scripts/demo.sh $(if $(TIME),--seconds $(TIME))

docs: ## Build the site into target/site/html, check its links, and run its blocks of code
	@scripts/setup.sh build test browser
	scripts/docs/build.py
	scripts/docs/links.py --site
	scripts/docs/diagrams.py
	$(MAKE) build-tests
	scripts/docs/blocks.py

fmt: ## Format the code
	cargo fmt --all
	for package in $(OTHER_PACKAGES); do cargo fmt --manifest-path $$package/Cargo.toml; done

mutants: ## Test the tests of the core with mutants; SHARD=0/8 or FILES='src/cache/*' run a part
	@scripts/setup.sh build
	scripts/mutants.sh

fuzz: ## Search for inputs that fail, with libFuzzer; TARGET=glob TIME=10m KEEP=1, or LIST=1
	@scripts/setup.sh build
	scripts/fuzz.sh

instructions: ## Count instructions and allocations per request, and compare with the reference
	@scripts/setup.sh build test count
	scripts/instructions.sh

bench: ## Compare with a bare gRPC server, Redis and etcd; writes tables to target/bench
	@scripts/setup.sh build test bench
	scripts/bench.sh
	scripts/bench-limits.sh
	scripts/bench-dashboard.sh

bench-clients: ## Compare the client libraries with bare stubs and Redis clients
	@scripts/setup.sh build test
	cargo build --release --locked -p larder
	clients/bench.sh

bench-cluster: ## Compare a Redis Cluster with one Redis; writes a table to target/bench
	@scripts/setup.sh build test bench
	scripts/bench-cluster.sh

measure-costs: ## Measure what a call costs Larder, Redis and the networks; see docs/scale.md
	@scripts/setup.sh build test bench
	scripts/scale/costs.py

measure-fleet: ## Measure what replicas and namespaces cost one Redis; REPLICAS="1 16" chooses
	@scripts/setup.sh build test bench
	scripts/scale/fleet.py

size: ## Compute replicas, servers, network and memory; ARGS="--calls 200000 --value 300"
	@scripts/scale/size.py $(ARGS)

bench-security: ## Measure TLS, permissions, tokens and quotas; writes a table to target/bench
	@scripts/setup.sh build test bench
	scripts/bench-security.sh

sbom: ## Write the bill of materials (CycloneDX) to target/sbom
	scripts/sbom.sh

package: ## Build a static binary and a Debian package; they are written to target/package
	scripts/package.sh static deb

bench-redis-clients: ## Compare Redis clients; writes a table to target/bench
	@scripts/setup.sh build test
	scripts/bench-redis-clients.sh

clean: ## Remove everything that was built or downloaded
	cargo clean

# Steps of `check`.

setup:
	scripts/setup.sh build test browser count
	scripts/tools.sh cargo-nextest cargo-deny cargo-shear shellcheck buf

lint-files:
	cargo fmt --all --check
	for package in $(OTHER_PACKAGES); do \
		cargo fmt --manifest-path $$package/Cargo.toml --check || exit; \
	done
	"$$(scripts/tools.sh buf)" lint proto
	scripts/check-packaging.sh
	scripts/check-dependencies.sh
	scripts/check-sizes.sh

# Needs the server of build-tests.
deploy: ## Check the Helm chart, the manifests of Kubernetes and the unit of systemd
	scripts/check-deploy.sh

clippy:
	cargo clippy $(WORKSPACE) --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc $(WORKSPACE) --no-deps

# Also builds the debug binaries that the integration tests and the clients use.
build-tests:
	$(BUILD)

nextest:
	"$$(scripts/tools.sh cargo-nextest)" nextest run $(WORKSPACE)

doctest:
	cargo test $(WORKSPACE) --doc
