#!/usr/bin/env bash
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly TEST=$INSTALLED/go/client.test LOAD=$INSTALLED/go/load

setup() {
    need go "the Go client is built with it"
    once "$CLIENT/gen" "$PROTO" "$CLIENT/generate.sh" "$repository/scripts/tools.sh" -- \
        "$CLIENT/generate.sh"
    # The example, with the import of these stubs.
    mkdir -p "$CLIENT/gen/example"
    sed 's,example\.com/app/gen,larder.test/polyglot/gen,' \
        "$repository/examples/go/get_or_compute.go" >"$CLIENT/gen/example/get_or_compute.go"
    # Go has its own build cache.
    go test -C "$CLIENT" -c -o "$TEST" .
    go build -C "$CLIENT" -o "$LOAD" ./load
}

run_tests() { (cd "$CLIENT" && "$TEST" -test.timeout=2m "$@"); }

write() { run_tests -test.run='^TestSharedWrite$'; }

check() { run_tests; }

load() { exec "$LOAD"; }

main "$@"
