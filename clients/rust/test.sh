#!/usr/bin/env bash
# Tests the Rust client.
#
#   clients/rust/test.sh           all checks
#   clients/rust/test.sh lints     one of them
#   clients/rust/test.sh --setup   only builds what they need
#
# LARDER_BIN is the server, and LARDER_CLIENT_CONTROL the control program of the conformance cases.
# The exit code is 69 without cargo.
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"

readonly here=$clients/rust
readonly features=testing,otel

run_cargo() { (cd "$here" && cargo "$@"); }

setup() {
    need cargo "the Rust client is built with it" || exit
    run_cargo test --quiet --features "$features" --no-run
}

# totals: the sum of the counts that cargo prints per program.
totals() {
    awk '/^test result:/ { passed += $4; failed += $6 }
         END { print passed + 0 " passed, " failed + 0 " failed" }'
}

check_unit() {
    local log=$work/unit-output
    run_cargo test --features "$features" --lib --test behaviour --test connections \
        --test generated --test matrix 2>&1 | tee "$log"
    run_cargo test --features "$features" --doc 2>&1 | tee -a "$log"
    totals <"$log"
}

check_conformance() {
    local log=$work/conformance-output
    run_cargo test --features "$features" --test conformance >"$log" 2>&1 || {
        grep -A 6 -E 'FAILED|^error|panicked' "$log"
        tail -n 1 "$log"
        return 1
    }
    tail -n 1 "$log"
}

check_lints() {
    run_cargo clippy --quiet --all-targets --features "$features" -- --deny warnings
    run_cargo clippy --quiet --no-default-features -- --deny warnings
    RUSTDOCFLAGS='--deny warnings' run_cargo doc --quiet --no-deps --features "$features"
    run_cargo fmt --check
    echo "no warnings"
}

# A program that has the packaged crate as its only dependency, with each set of features.
check_package() {
    local program=$work/consumer package version
    version=$(cargo metadata --no-deps --format-version 1 --manifest-path "$here/Cargo.toml" |
        sed -E 's/.*"name":"larder-client","version":"([^"]*)".*/\1/')
    run_cargo package --quiet --allow-dirty --no-verify
    package=$repository/target/package/larder-client-$version.crate
    mkdir -p "$program/src"
    tar -xzf "$package" -C "$program"
    cat >"$program/Cargo.toml" <<EOF
[package]
name = "consumer"
version = "0.0.0"
edition = "2024"
publish = false

[features]
testing = ["larder-client/testing"]

[dependencies]
larder-client = { path = "larder-client-$version", default-features = false }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

[workspace]
EOF
    cat >"$program/src/main.rs" <<'EOF'
use larder_client::Client;

#[tokio::main]
async fn main() -> Result<(), larder_client::Error> {
    let client = Client::builder("127.0.0.1:1").connect_lazy()?;
    let read = client.namespace::<String>("users").get("7").await?;
    assert!(read.degraded);
    println!("the package works");
    Ok(())
}
EOF
    cp "$repository/Cargo.lock" "$program/"
    cd "$program"
    export CARGO_TARGET_DIR=$INSTALLED/rust-package
    cargo run --quiet
    cargo check --quiet --features testing
    echo "the packaged crate is built and runs"
}

case ${1-} in
--setup) setup ;;
'')
    setup >&2
    # One after the other: cargo locks its directory.
    run_lanes rust "unit conformance lints package"
    ;;
*)
    setup >&2
    run_lanes rust "$*"
    ;;
esac
