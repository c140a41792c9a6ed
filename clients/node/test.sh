#!/usr/bin/env bash
# Tests the Node client.
#
#   clients/node/test.sh           all checks
#   clients/node/test.sh types     one of them
#   clients/node/test.sh --setup   only installs what they need
#
# LARDER_BIN is the server, and LARDER_CLIENT_CONTROL the control program of the conformance cases. The
# exit code is 69 without node and npm.
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"

readonly here=$clients/node

setup() {
    local major
    need node "the Node client runs on it" || exit
    need npm "the Node client is installed with it" || exit
    major=$(node -p 'process.versions.node.split(".")[0]')
    ((major >= 20)) || {
        echo "Node 20 or later is needed, this is $(node --version)" >&2
        exit "$EX_UNAVAILABLE"
    }
    # Installs and builds the client, too.
    "$here/suites/run.sh" --setup
}

run_vitest() { (cd "$here" && npx --no-install vitest run --reporter=dot "$@") | grep -v '^$'; }

check_unit() { run_vitest --exclude 'test/conformance/**' --exclude 'test/processes/**'; }

check_processes() { run_vitest test/processes; }

check_conformance() {
    report_conformance node
    run_vitest test/conformance
}

check_suites() {
    "$here/suites/run.sh" --store memory
    "$here/suites/run.sh" --store redis
}

check_types() {
    (cd "$here" && npm run --silent types)
    echo "the types are strict"
}

check_generated() {
    "$here/generate.sh" --check
    echo "the generated code is that of the protos"
}

case ${1-} in
--setup) setup ;;
'')
    setup >&2
    run_lanes node "types generated conformance unit processes suites"
    ;;
*)
    setup >&2
    run_lanes node "$*"
    ;;
esac
