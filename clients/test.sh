#!/usr/bin/env bash
# Tests the client libraries against the real server: their own tests, the conformance cases, the
# suites of the interfaces that they implement, types, the packages that users install; then all of
# them together on fleets.
#
#   clients/test.sh                      all languages, and fleets
#   clients/test.sh python               one of them
#   clients/test.sh python conformance   one check of it
#   clients/test.sh --setup              only installs what the tests need
#
# LARDER_BIN is the server under test (target/debug/larder by default), and LARDER_CLIENT_CONTROL the
# control program of the conformance cases. A language whose toolchain is missing is reported as
# skipped; with CI=true that is a failure, so that no test disappears unnoticed.

set -euo pipefail

# Lanes run side by side, the languages of one after each other: two fill the two cores of a small
# machine.
readonly LANES=("python rust go" "node java")
readonly LANGUAGES="${LANES[*]}"
# Needs the languages.
readonly TOGETHER=fleet
readonly EX_UNAVAILABLE=69

clients=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname -- "$clients")
readonly clients repository

setup_only=false
if [[ ${1-} == --setup ]]; then
    setup_only=true
    shift
fi
chosen="$LANGUAGES $TOGETHER" check=''
if (($# > 0)); then
    [[ " $chosen " == *" $1 "* && $# -le 2 ]] || {
        echo "usage: clients/test.sh [--setup] [${chosen// /|} [CHECK]]" >&2
        exit 2
    }
    chosen=$1 check=${2-}
fi

export LARDER_BIN=${LARDER_BIN:-$repository/target/debug/larder}
export LARDER_CLIENT_CONTROL=${LARDER_CLIENT_CONTROL:-$repository/target/debug/client-control}
if [[ $setup_only == false ]]; then
    for program in "$LARDER_BIN" "$LARDER_CLIENT_CONTROL"; do
        [[ -x $program ]] && continue
        echo "$program not found: run \`cargo build -p larder -p client-control\`" >&2
        exit 2
    done
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-clients.XXXXXX")
pids=''
clean_up() {
    for pid in $pids; do kill -TERM "$pid" 2>/dev/null || true; done
    wait
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# in_language LANGUAGE ARGUMENT...: its output goes to the terminal and to a file.
in_language() {
    local language=$1 code=0
    shift
    "$clients/$language/test.sh" "$@" 2>&1 | tee "$work/$language" || code=${PIPESTATUS[0]}
    echo "$code" >"$work/$language.code"
}

# run_lane LANGUAGE...: one after the other.
run_lane() {
    local language
    for language in "$@"; do
        [[ " $chosen " == *" $language "* ]] || continue
        if [[ $setup_only == true ]]; then
            in_language "$language" --setup
        else
            in_language "$language" ${check:+"$check"}
        fi
    done
}

for lane in "${LANES[@]}"; do
    # shellcheck disable=SC2086 # Several languages.
    run_lane $lane &
    pids+=" $!"
done
for pid in $pids; do wait "$pid"; done
pids=''
run_lane "$TOGETHER"

failed=0 skipped=0 passed=0
for language in $chosen; do
    case $(<"$work/$language.code") in
    0) passed=$((passed + $(grep -c '^ok ' "$work/$language" || true))) ;;
    "$EX_UNAVAILABLE")
        skipped=$((skipped + 1))
        echo "SKIPPED $language: $(tail -n 1 "$work/$language")"
        ;;
    *)
        passed=$((passed + $(grep -c '^ok ' "$work/$language" || true)))
        failed=$((failed + 1))
        echo "FAILED $language"
        ;;
    esac
done
if [[ $setup_only == true ]]; then exit "$((failed > 0))"; fi
if ((passed + failed + skipped == 0)); then
    echo "no check was run" >&2
    exit 1
fi
echo "clients: $passed passed, $failed failed, $skipped skipped"
if [[ ${CI-} == true ]] && ((skipped > 0)); then
    echo "CI=true: nothing may be skipped" >&2
    exit 1
fi
((failed == 0))
