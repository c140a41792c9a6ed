#!/usr/bin/env bash
# Tests the Rust client.
#
#   clients/rust/test.sh           all checks
#   clients/rust/test.sh types     one of them
#   clients/rust/test.sh --setup   only looks whether cargo is there
#
# LARDER_BIN is the server, and LARDER_CLIENT_CONTROL the control program of the conformance cases.
# The exit code is 69 without cargo.
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"

readonly here=$clients/rust
readonly features=testing,otel,tower,http-cache
# The selection of the Makefile, so that what it has built is used.
readonly workspace=(--locked --workspace --features "larder-client/${features//,/,larder-client/}")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$repository/target}

run_cargo() { (cd "$here" && cargo "$@"); }

setup() {
    need cargo "the Rust client is built with it" || exit
}

# totals: the sum of the counts that cargo prints per program. Fails if no test was run.
totals() {
    awk '/^test result:/ { passed += $4; failed += $6 }
         END { print passed + 0 " passed, " failed + 0 " failed"; exit passed == 0 }'
}

# run_tests LOG ARGUMENT...: prints what failed, or the counts.
run_tests() {
    local log=$work/$1
    shift
    run_cargo test --no-fail-fast "$@" >"$log" 2>&1 || {
        grep -E '^error|FAILED|panicked' -A 8 "$log" | head -n 150
        return 1
    }
    totals <"$log"
}

check_unit() {
    local nextest log=$work/unit-output
    nextest=$("$repository/scripts/tools.sh" cargo-nextest)
    (cd "$here" && "$nextest" nextest run "${workspace[@]}" --no-fail-fast --status-level fail \
        --ignore-default-filter -E 'package(larder-client) and not binary(conformance)') \
        >"$log" 2>&1 || {
        tail -n 150 "$log"
        return 1
    }
    sed -nE 's/^ *Summary .* ([0-9]+ passed.*)$/\1/p' "$log"
}

# conformance STORE
conformance() {
    local log=$work/conformance-$1-output
    LARDER_CONFORMANCE_STORE=$1 run_cargo test "${workspace[@]}" --test conformance \
        >"$log" 2>&1 || {
        grep -A 6 -E 'FAILED|^error|panicked' "$log"
        tail -n 1 "$log"
        return 1
    }
    sed -nE 's/^test (.*) \.\.\. ok$/\1/p' "$log" >"$LARDER_CONFORMANCE_REPORT/rust.txt"
    echo "$(grep '^conformance:' "$log" | cut -d ' ' -f 2-) on $1"
}

check_conformance() {
    report_conformance rust
    conformance memory
    if has redis-server; then
        conformance redis
    else
        echo "left out: the cases on Redis, because redis-server is not on this machine"
    fi
}

# The Rust part of conformance/matrix.sh, which sets LARDER_MATRIX.
check_matrix() { run_tests matrix-output "${workspace[@]}" --test matrix; }

check_types() {
    run_cargo fmt --check
    # As `make clippy` and `make doc` write it: with other flags all of it would be done again.
    run_cargo clippy --quiet "${workspace[@]}" --all-targets -- -D warnings
    # Links that are broken are among the warnings.
    RUSTDOCFLAGS='-D warnings' run_cargo doc --quiet "${workspace[@]}" --no-deps
    echo "clippy and rustdoc have no warnings"
}

check_generated() {
    run_tests generated-output "${workspace[@]}" --test generated
    echo "the generated code is that of the protos"
}

# The first lines of the README as a program that has the packaged crate as its dependency, in a
# directory outside the workspace.
check_package() {
    local program=$work/consumer version some toolchain
    version=$(cargo metadata --no-deps --format-version 1 --manifest-path "$here/Cargo.toml" |
        sed -E 's/.*"name":"larder-client","version":"([^"]*)".*/\1/')
    run_cargo package --quiet --allow-dirty --no-verify
    mkdir -p "$program/src"
    tar -xzf "$CARGO_TARGET_DIR/package/larder-client-$version.crate" -C "$program"
    cat >"$program/Cargo.toml" <<EOF
[package]
name = "consumer"
version = "0.0.0"
edition = "2024"
publish = false

[dependencies]
larder-client = { path = "larder-client-$version", features = ["testing"] }
serde = { version = "1", features = ["derive"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

[workspace]
EOF
    awk '/^```rust$/ { inside = 1; next } /^```$/ && inside { exit } inside' "$here/README.md" \
        >"$program/src/main.rs"
    grep -q 'fn main' "$program/src/main.rs"
    cp "$repository/Cargo.lock" "$program/"
    # It has a directory of its own: the profiles of the workspace do not apply to it.
    export CARGO_TARGET_DIR=$INSTALLED/rust-package
    (cd "$program" && cargo run --quiet) | tee "$work/consumer-output"
    [[ $(<"$work/consumer-output") == 'Some(Loader) Some(Store)' ]]
    # With the oldest Rust that the crate states, if rustup has it.
    toolchain=$(oldest_toolchain)
    for some in '' tls tower,http-cache "$features,tls"; do
        (cd "$program/larder-client-$version" && cp "$repository/Cargo.lock" . &&
            RUSTFLAGS='--deny warnings' cargo ${toolchain:+"+$toolchain"} check --quiet \
                --no-default-features --features "$some")
    done
    echo "the first lines of the README run; the packaged crate is built by Rust ${toolchain:-stable}"
}

oldest_rust() { sed -nE 's/^rust-version = "([0-9.]+)"$/\1/p' "$repository/Cargo.toml"; }

# oldest_toolchain: its name, or nothing if rustup does not have it.
oldest_toolchain() {
    rustup toolchain list 2>/dev/null | grep -oE "^$(oldest_rust)(\.[0-9]+)?" | head -n 1 || true
}

# No dependency wants a newer Rust than the oldest one that the crate states. The package is built
# with that, and the lint incompatible_msrv, in the types, looks at the library of Rust.
check_msrv() {
    local oldest newer
    oldest=$(oldest_rust)
    run_cargo tree --locked --edges normal --features "$features" --prefix none --no-dedupe \
        --format '{p}' | awk '{ print $1 "@" substr($2, 2) }' | sort -u >"$work/used"
    cargo metadata --locked --format-version 1 --manifest-path "$here/Cargo.toml" >"$work/metadata"
    newer=$(python3 - "$work/metadata" "$work/used" "$oldest" <<'EOF'
import json, sys
number = lambda text: [int(part) for part in text.split(".")]
used = set(open(sys.argv[2]).read().split())
for package in json.load(open(sys.argv[1]))["packages"]:
    name = f"{package['name']}@{package['version']}"
    wanted = package.get("rust_version")
    if name in used and wanted and number(wanted)[:2] > number(sys.argv[3])[:2]:
        print(name, "wants", wanted)
EOF
    )
    [[ -z $newer ]] || {
        echo "newer than $oldest: $newer"
        return 1
    }
    echo "no dependency wants more than Rust $oldest"
}

case ${1-} in
--setup) setup ;;
'')
    setup >&2
    # One after the other: cargo locks its directory.
    run_lanes rust "types generated unit conformance package msrv"
    ;;
*)
    setup >&2
    run_lanes rust "$*"
    ;;
esac
