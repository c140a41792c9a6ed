#!/usr/bin/env bash
# Runs examples/rust, a program with the Rust client library.
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly BUILT=$INSTALLED/origin-rust

setup() {
    need cargo "the example in Rust is built with it"
    # Without debug information it builds faster. The examples in Rust share their dependencies.
    CARGO_PROFILE_DEV_DEBUG=0 cargo build --quiet --locked \
        --manifest-path "$repository/examples/rust/Cargo.toml" --target-dir "$BUILT"
}

# It checks the values itself.
check() {
    local out
    out=$(LARDER_ENDPOINT=$LARDER_ADDRESS "$BUILT/debug/larder-client-example" 2>&1) || {
        echo "$out"
        return 1
    }
    echo "$out"
    [[ $out == *"from Some(Store)"* && $out == *"without the cache: "* ]]
}

main "$@"
