#!/usr/bin/env bash
# Values that each client library writes are read by all of them, on one server.
#
#   clients/conformance/matrix.sh              all languages
#   clients/conformance/matrix.sh python node  these
#
# LARDER_BIN is the server (target/debug/larder by default), and PYTHON the interpreter with the
# Python client's test dependencies (python3). The set-ups of the clients must have been run.

set -euo pipefail

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
readonly repository
languages=${*:-python node go java rust}
larder=${LARDER_BIN:-$repository/target/debug/larder}
[[ $larder == /* ]] || larder=$PWD/$larder
log=$(mktemp)
server=''

# Variables of the caller would configure the server.
while read -r variable; do
    unset "$variable"
done < <(compgen -e | grep -E '^(LARDER|REDIS|OTEL)_' || true)

clean_up() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    [[ -z $server ]] || wait "$server" 2>/dev/null || true
    rm -f -- "$log"
}
trap clean_up EXIT

LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_LOG__FORMAT=json \
    LARDER_CONFIG=$repository/clients/conformance/larder.toml LARDER_STORE=memory \
    "$larder" 2>"$log" &
server=$!
deadline=$((SECONDS + 20))
until grep -q '"serving"' "$log"; do
    if ((SECONDS > deadline)) || ! kill -0 "$server" 2>/dev/null; then
        cat "$log" >&2
        echo "the server does not serve" >&2
        exit 1
    fi
    sleep 0.05
done
LARDER_MATRIX_TARGET=$(sed -n '/"serving"/s/.*"listen": *"\([^"]*\)".*/\1/p' "$log")
LARDER_MATRIX_WRITERS=$languages
export LARDER_MATRIX_TARGET LARDER_MATRIX_WRITERS

# run LANGUAGE MODE
run() {
    case $1 in
    python)
        (cd "$repository/clients/python" &&
            LARDER_MATRIX=$2 "${PYTHON:-python3}" -m pytest -q tests/conformance/test_matrix.py)
        ;;
    node)
        (cd "$repository/clients/node" &&
            LARDER_MATRIX=$2 npx vitest run test/conformance/matrix.test.ts)
        ;;
    go)
        (cd "$repository/clients/go" &&
            LARDER_MATRIX=$2 go test -count=1 -run TestMatrix ./internal/conformance)
        ;;
    java)
        (cd "$repository/clients/java" &&
            LARDER_MATRIX=$2 mvn --batch-mode --quiet --offline \
                -Dmaven.repo.local="$repository/target/clients/java/repository" \
                surefire:test -pl larder-tests -Dtest=MatrixTest)
        ;;
    rust)
        LARDER_MATRIX=$2 "$repository/clients/rust/test.sh" matrix
        ;;
    *)
        echo "usage: matrix.sh [python] [node] [go] [java] [rust]" >&2
        exit 2
        ;;
    esac
}

for mode in write read; do
    for language in $languages; do
        echo "=== $language: $mode"
        run "$language" "$mode"
    done
done
