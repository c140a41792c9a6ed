#!/usr/bin/env bash
# Runs the test suites of the libraries that larder-cache adapts, as they are in the registry, and
# our own tests of libraries that have none, against the real server.
#
#   clients/node/suites/run.sh                     all suites
#   clients/node/suites/run.sh keyv bentocache     these only
#   clients/node/suites/run.sh --setup             only installs them, and builds the client
#   clients/node/suites/run.sh --store redis ...   on Redis in place of the embedded store
#
# suites.txt has the numbers of tests that must run and be skipped, so that no test disappears
# unnoticed. LARDER_BIN is the server (target/debug/larder by default). The exit code is 69 if Node
# or npm is missing.

set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$here/../../.." && pwd)
readonly here repository table=$here/suites.txt

all=$(awk '!/^#/ && NF { print $1 }' "$table")
usage() {
    echo "usage: run.sh [--setup] [--store memory|redis] [$(tr '\n' '|' <<<"$all")]..." >&2
    exit 2
}

setup_only=false store=memory chosen=()
while (($# > 0)); do
    case $1 in
    --setup) setup_only=true ;;
    --store)
        store=${2-}
        [[ $store == memory || $store == redis ]] || usage
        shift
        ;;
    *)
        grep -qx -- "$1" <<<"$all" || usage
        chosen+=("$1")
        ;;
    esac
    shift
done
((${#chosen[@]} > 0)) || mapfile -t chosen <<<"$all"

for tool in node npm; do
    command -v "$tool" >/dev/null || {
        echo "$tool is not installed" >&2
        exit 69
    }
done

larder=${LARDER_BIN:-$repository/target/debug/larder}
[[ $larder == /* ]] || larder=$PWD/$larder
if [[ ! -x $larder && $setup_only == false ]]; then
    echo "$larder not found: run \`cargo build\`, or name another binary with LARDER_BIN" >&2
    exit 2
fi
if [[ $store == redis && $setup_only == false ]]; then
    command -v redis-server >/dev/null || {
        echo "redis-server is not installed" >&2
        exit 69
    }
fi

# Variables of the caller could point the server at a store that the tests must not write to.
while read -r variable; do
    unset "$variable"
done < <(compgen -e | grep -E '^(LARDER|REDIS|OTEL)_' || true)

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-suites.XXXXXX")
server='' redis='' runner=''

# until_true SECONDS COMMAND...: repeats the command until it succeeds or the time is over.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

dead() { ! kill -0 "$1" 2>/dev/null; }

# stop PID: terminates the process and waits for it.
stop() {
    kill -TERM "$1" 2>/dev/null || return 0
    until_true 20 dead "$1" || kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

clean_up() {
    local pid
    for pid in $runner $server $redis; do stop "$pid"; done
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# === Set-up ===

# Installs what a lock names, unless that has been done.
install() {
    local folder=$1 stamp=$1/node_modules/.larder-installed
    cmp -s "$folder/package-lock.json" "$stamp" && return
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    cp "$folder/package-lock.json" "$stamp"
}

# Puts the package as it would be published among the installed ones, so that the suites test it.
install_client() {
    local archive
    install "$here/.."
    (cd "$here/.." && npm run --silent build >"$work/build.log" 2>&1) || {
        cat "$work/build.log" >&2
        return 1
    }
    archive=$(cd "$here/.." && npm pack --loglevel=error --ignore-scripts --pack-destination "$work")
    rm -rf -- "$here/node_modules/larder-cache"
    mkdir -- "$here/node_modules/larder-cache"
    tar -xzf "$work/$archive" -C "$here/node_modules/larder-cache" --strip-components=1
}

# === Servers ===

start_redis() {
    redis-server --port 0 --unixsocket "$work/redis.sock" --dir "$work" --save "" \
        --appendonly no >"$work/redis.log" 2>&1 &
    redis=$!
    until_true 10 test -S "$work/redis.sock" || {
        cat "$work/redis.log" >&2
        return 1
    }
}

serving_or_dead() { grep -q '"serving"' "$work/server.log" || dead "$server"; }

# Starts a server with an empty store; sets `address`.
start_server() {
    local url=memory
    if [[ $store == redis ]]; then
        start_redis
        url=unix://$work/redis.sock
    fi
    # TTLs are as the suites give them.
    printf '[defaults]\nttl_jitter = 0.0\n' >"$work/larder.toml"
    : >"$work/server.log"
    LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_LOG__FORMAT=json \
        LARDER_CONFIG=$work/larder.toml LARDER_STORE=$url "$larder" >"$work/server.log" 2>&1 &
    server=$!
    until_true 20 serving_or_dead || true
    address=$(sed -n '/"serving"/s/.*"listen": *"\([^"]*\)".*/\1/p' "$work/server.log")
    [[ -n $address ]] || {
        cat "$work/server.log" >&2
        return 1
    }
}

stop_servers() {
    stop "$server"
    server=''
    [[ -z $redis ]] || stop "$redis"
    redis=''
}

# === Suites ===

# run_suite NAME RUNNER: its results are in $work/results.json.
run_suite() {
    local command code=0
    case $2 in
    vitest) command=(npx --no-install vitest run "tests/$1.test.mjs" --reporter=default
        --reporter=json --outputFile.json="$work/results.json") ;;
    japa) command=(node "tests/$1.mjs" "$work/results.json") ;;
    esac
    rm -f -- "$work/results.json"
    # In the background, because bash runs no trap during a foreground command.
    (
        cd "$here"
        export LARDER_ENDPOINT=$address LARDER_BIN=$larder NEXT_TELEMETRY_DISABLED=1
        exec "${command[@]}"
    ) >"$work/suite.log" 2>&1 &
    runner=$!
    wait "$runner" || code=$?
    runner=''
    return "$code"
}

install "$here"
install_client
if [[ $setup_only == true ]]; then exit 0; fi

passed=0 failed=0 skipped=0
for suite in "${chosen[@]}"; do
    read -r _ kind tests skips < <(grep "^$suite " "$table")
    begin=$SECONDS code=0
    start_server
    run_suite "$suite" "$kind" || code=$?
    stop_servers
    counts='0 0 0'
    [[ ! -s $work/results.json ]] || counts=$(node "$here/counts.mjs" "$kind" "$work/results.json")
    read -r good bad left <<<"$counts"
    ((passed += good, failed += bad, skipped += left)) || true
    problem=''
    ((code == 0)) || problem=" (exit code $code)"
    if ((good + bad != tests || left != skips)); then
        problem+=" (expected $tests tests and $skips skipped)"
    fi
    line="$suite/$store: $good passed, $bad failed, $left skipped, $((SECONDS - begin)) s"
    if [[ -z $problem ]]; then
        echo "ok $line"
        continue
    fi
    echo "FAILED $line$problem"
    sed 's/^/    /' "$work/suite.log"
    # A suite that ran other tests than it must is a failure, even if those passed.
    ((bad > 0)) || ((failed += 1))
done

echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
