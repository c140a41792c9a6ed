#!/usr/bin/env bash
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly TEST=$INSTALLED/go/client.test

setup() {
    need go "the Go client is built with it"
    once "$CLIENT/gen" "$PROTO" "$CLIENT/generate.sh" "$repository/scripts/tools.sh" -- \
        "$CLIENT/generate.sh"
    # Go has its own build cache.
    go test -C "$CLIENT" -c -o "$TEST" .
}

run_tests() { (cd "$CLIENT" && "$TEST" -test.timeout=2m "$@"); }

write() { run_tests -test.run='^TestSharedWrite$'; }

check() { run_tests; }

main "$@"
