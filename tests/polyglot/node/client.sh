#!/usr/bin/env bash
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly MODULES=$INSTALLED/node

# npm creates node_modules next to package.json, so package.json is copied out of the source tree.
install() {
    cp "$CLIENT/package.json" "$CLIENT/package-lock.json" "$CLIENT/.npmrc" "$MODULES"
    npm ci --prefix "$MODULES" --ignore-scripts --loglevel=error
}

setup() {
    need node "the Node.js client runs on it"
    need npm "the Node.js client is installed with it"
    once "$MODULES" "$CLIENT/package.json" "$CLIENT/package-lock.json" -- install
}

run_tests() {
    # The summary repeats every failure, so only the summary is printed.
    (cd "$CLIENT" && NODE_PATH=$MODULES/node_modules node --test --test-reporter=spec "$@") |
        sed -n '/^. failing tests:$/,$p'
}

write() { run_tests --test-name-pattern='^shared write$' shared.test.js; }

check() { run_tests; }

load() { NODE_PATH=$MODULES/node_modules exec node "$CLIENT/load.js"; }

main "$@"
