# Functions shared by the test scripts of the languages: checks that run side by side.
# shellcheck shell=bash

set -euo pipefail

clients=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname -- "$clients")
# shellcheck source=scripts/tools.sh
source "$repository/scripts/tools.sh"

# shellcheck disable=SC2034 # Used by the scripts of the languages.
readonly INSTALLED=$repository/target/clients

export LARDER_BIN=${LARDER_BIN:-$repository/target/debug/larder}
export LARDER_CLIENT_CONTROL=${LARDER_CLIENT_CONTROL:-$repository/target/debug/client-control}

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-checks.XXXXXX")
running=''
clean_up() {
    local pid
    for pid in $running; do kill -TERM "$pid" 2>/dev/null || true; done
    wait
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# report_conformance LANGUAGE: empties the list of the cases that pass. docs/clients.md has a table of
# them, which the fleet's check `features` compares.
report_conformance() {
    export LARDER_CONFORMANCE_REPORT=$INSTALLED/conformance
    mkdir -p "$LARDER_CONFORMANCE_REPORT"
    : >"$LARDER_CONFORMANCE_REPORT/$1.txt"
}

# once DIRECTORY INPUT... -- COMMAND...: runs the command, unless it succeeded before with the same
# contents of the input files.
once() {
    local directory=$1 inputs=() digest
    shift
    while [[ $1 != -- ]]; do
        inputs+=("$1")
        shift
    done
    shift
    digest=$(cat -- "${inputs[@]}" | cksum)
    [[ $(cat "$directory/.made-from" 2>/dev/null) != "$digest" ]] || return 0
    mkdir -p "$directory"
    rm -f "$directory/.made-from"
    "$@"
    echo "$digest" >"$directory/.made-from"
}

# summary LOG: the last line that counts tests, without colours, or else the last line.
summary() {
    local counted
    counted=$(sed -E 's/\x1b\[[0-9;]*m//g' "$1" | grep -E '[0-9]+ (passed|environments)' | tail -n 1 || true)
    echo "${counted:-$(tail -n 1 "$1")}" | sed -E 's/^[ =]+//; s/[ =]+$//'
}

# run_check LANGUAGE NAME: runs the function check_NAME.
run_check() {
    local start=$SECONDS code=0 log=$work/$2.log
    ("check_${2//-/_}") >"$log" 2>&1 || code=$?
    if ((code == 0)); then
        echo "ok $1 $2 ($((SECONDS - start)) s): $(summary "$log")"
    else
        # One write, so that the output of two checks does not mix.
        printf '%s\n' "FAILED $1 $2"$'\n'"$(sed 's/^/    /' "$log" | tail -n 200)"
    fi
    return "$code"
}

# run_lanes LANGUAGE LANE...: a lane is a list of checks that run one after the other; lanes run
# side by side. Returns 1 if a check failed.
run_lanes() {
    local language=$1 lane pid code=0
    shift
    for lane in "$@"; do
        (
            failed=0
            for check in $lane; do run_check "$language" "$check" || failed=1; done
            exit "$failed"
        ) &
        running+=" $!"
    done
    for pid in $running; do wait "$pid" || code=1; done
    running=''
    return "$code"
}
