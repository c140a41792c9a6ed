# `make run` and `make test` set up what they need; see README.md.

SHELL := bash
# Where rustup puts cargo: a shell that was opened before does not have it in its path.
export PATH := $(HOME)/.cargo/bin:$(PATH)
.DEFAULT_GOAL := help
.PHONY: help run test unit integration polyglot check fmt lint bench instructions bench-redis-clients clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-20s %s\n", $$1, $$2 }'

run: ## Run the server on the embedded store; ARGS="--store redis://localhost" passes flags
	@scripts/setup.sh build
	cargo run --release --locked -- $(ARGS)

test: ## Run all tests, with a real redis-server of their own
	@scripts/setup.sh build test
	$(MAKE) unit integration polyglot

unit: ## Run the unit and documentation tests
	cargo test --locked --workspace --lib --bins
	cargo test --locked --workspace --doc

integration: ## Run the tests that drive the real binary
	cargo test --locked --test it

polyglot: ## Run the Python, Node, Go, Java, grpcurl and grpc_health_probe clients against the real binary
	cargo build --locked
	tests/polyglot.sh

check: lint ## Run everything that must pass before a change lands
	scripts/check-packaging.sh
	$(MAKE) test instructions

lint: ## Check formatting, lints, documentation and protos
	@scripts/setup.sh build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	"$$(scripts/tools.sh buf)" lint proto
	scripts/check-dependencies.sh

fmt: ## Format the code
	cargo fmt --all

bench: ## Compare with a bare gRPC server, Redis and etcd, and write the tables to target/bench
	@scripts/setup.sh build test bench
	scripts/bench.sh
	scripts/bench-limits.sh

instructions: ## Count the instructions and allocations that requests cost, and compare with benches/instructions.txt
	@scripts/setup.sh build test count
	scripts/instructions.sh

bench-redis-clients: ## Compare clients of Redis, and write the table to target/bench
	@scripts/setup.sh build test
	scripts/bench-redis-clients.sh

clean: ## Remove everything that was built or downloaded
	cargo clean
