#!/usr/bin/env bash
# Runs clients in several languages, each with its usual gRPC library, against the real server: once
# on the embedded store and once on Redis.
#
#   tests/polyglot.sh             all clients
#   tests/polyglot.sh python go   these only
#   tests/polyglot.sh --setup     only installs what the clients need
#
# LARDER_BIN is the server under test (target/debug/larder by default). A client whose toolchain is
# not installed is reported as skipped; with CI=true that is a failure, so that no test disappears
# unnoticed.

set -euo pipefail

# Clients in LANGUAGES write entries that all of them read; OTHERS only read.
readonly LANGUAGES="python node go" OTHERS="java grpcurl health-probe quickstart origins"

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
clients=$repository/tests/polyglot
readonly repository clients

chosen=${*:-$LANGUAGES $OTHERS}
for client in $chosen; do
    [[ " $LANGUAGES $OTHERS " == *" $client "* ]] && continue
    echo "usage: tests/polyglot.sh [$LANGUAGES $OTHERS]..." >&2
    exit 2
done

larder=${LARDER_BIN:-$repository/target/debug/larder}
[[ $larder == /* ]] || larder=$PWD/$larder
if [[ ! -x $larder ]]; then
    echo "$larder not found: run \`cargo build\`, or name another binary with LARDER_BIN" >&2
    exit 2
fi

# Variables of the caller could point the server at a store that the tests must not write to.
while read -r variable; do
    unset "$variable"
done < <(compgen -e | grep -E '^(LARDER|REDIS|OTEL)_' || true)

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-polyglot.XXXXXX")
server='' redis='' origins='' origin_pids='' passed=0 failed=0 skipped=0

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

# stop PID: terminates the process, waits for it, and returns its exit code.
stop() {
    local code=0
    kill -TERM "$1" 2>/dev/null || true
    until_true 30 dead "$1" || kill -KILL "$1"
    wait "$1" || code=$?
    return "$code"
}

clean_up() {
    local origin
    [[ -z $server ]] || stop "$server" || true
    for origin in $origin_pids; do
        stop "$origin" || true
    done
    [[ -z $redis ]] || stop "$redis" || true
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# === Results ===

passed() {
    echo "ok $1"
    passed=$((passed + 1))
}

# failed NAME LOG
failed() {
    echo "FAILED $1"
    sed 's/^/    /' "$2"
    failed=$((failed + 1))
}

# skipped NAME REASON
skipped() {
    echo "SKIPPED $1: $2"
    skipped=$((skipped + 1))
}

# === Servers ===

start_redis() {
    redis-server --port 0 --unixsocket "$work/redis.sock" --dir "$work" --save "" --appendonly no \
        >"$work/redis.log" 2>&1 &
    redis=$!
    until_true 10 test -S "$work/redis.sock" || {
        cat "$work/redis.log"
        echo "redis-server did not start" >&2
        exit 1
    }
}

free_port() {
    python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}

# Bash reports a refused connection on stderr, which is expected here.
listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
listens_or_dead() { listens "$1" || dead "$2"; }

# start_origin NAME: starts an origin on a free port, and sets `port`. Another process may take the
# port first, so this is repeated.
start_origin() {
    local pid
    for _ in 1 2 3 4 5; do
        port=$(free_port)
        (
            cd "$work"
            export DATABASE=$work/users.db
            exec "$clients/origins/client.sh" serve "$1" "$port"
        ) >"$work/origin-$1.log" 2>&1 &
        pid=$!
        origin_pids+="$pid "
        until_true 20 listens_or_dead "$port" "$pid" || break
        if ! dead "$pid"; then return; fi
    done
    cat "$work/origin-$1.log"
    echo "the origin $1 did not start" >&2
    exit 1
}

# Writes the configuration that the clients expect, and starts the origins in it.
configure() {
    local name port
    {
        # For the checks of stale values.
        printf '[namespaces.stale]\nstale_while_revalidate = "10m"\n'
        # Every check has its own namespace, and some read its statistics.
        printf '[telemetry]\nmax_namespaces = 2000\n'
    } >"$work/larder.toml"
    for name in $("$clients/origins/client.sh" available); do
        start_origin "$name"
        origins+="$name "
        {
            printf '[namespaces.origin-%s.origin]\n' "$name"
            case $name in
            http)
                printf 'url = "http://127.0.0.1:%s/{key}?{params}"\nbreaker_threshold = 0\n' "$port"
                ;;
            *) printf 'grpc = "http://127.0.0.1:%s"\n' "$port" ;;
            esac
        } >>"$work/larder.toml"
    done
}

serving_or_dead() { grep -q '"serving"' "$work/larder.log" || dead "$server"; }

# logged FIELD: prints an address from the log entry of the server's start.
logged() { sed -n '/"serving"/s/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "$work/larder.log"; }

# start_server URL: sets `server`, `address` and `admin`.
start_server() {
    # The log of the previous server must not be mistaken for this one.
    : >"$work/larder.log"
    (
        cd "$work"
        export LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_LOG__FORMAT=json
        export LARDER_CONFIG=$work/larder.toml LARDER_STORE=$1
        # No client checks timeouts of the store, and 50 large values at once reach the default
        # timeout on a busy machine.
        export LARDER_STORE__TIMEOUT=10s
        exec "$larder"
    ) >>"$work/larder.log" 2>&1 &
    server=$!
    until_true 20 serving_or_dead || true
    address=$(logged listen)
    admin=$(logged admin_listen)
    [[ -n $address ]] || echo "the server does not serve" >>"$work/larder.log"
    [[ -n $address ]]
}

stop_server() {
    local code=0
    stop "$server" || code=$?
    server=''
    [[ $code == 0 ]] || echo "the server ended with exit code $code" >>"$work/larder.log"
    return "$code"
}

# === Clients ===

run_client() {
    LARDER_ADDRESS=$address LARDER_ADMIN_ADDRESS=$admin LARDER_WRITERS=${writers-} \
        LARDER_ORIGINS=$origins ORIGIN_DATABASE=$work/users.db \
        "$clients/$1/client.sh" "$2" >"$3" 2>&1
}

# Runs before any server starts, because an installation can take minutes.
set_up_clients() {
    local client code
    for client in $chosen; do
        code=0
        "$clients/$client/client.sh" setup >"$work/$client.setup" 2>&1 || code=$?
        echo "$code" >"$work/$client.code"
    done
}

# ready CLIENT STORE: succeeds if the client can run; otherwise reports the reason.
ready() {
    local code
    code=$(<"$work/$1.code")
    case $code in
    0) ;;
    69) skipped "$1/$2" "$(tail -n 1 "$work/$1.setup")" ;;
    *) failed "$1/$2" "$work/$1.setup" ;;
    esac
    return "$code"
}

# run_clients STORE
run_clients() {
    local store=$1 client able='' writers=''
    for client in $chosen; do
        ready "$client" "$store" || continue
        if [[ " $LANGUAGES " == *" $client "* ]]; then
            if ! run_client "$client" write "$work/log"; then
                failed "$client/$store" "$work/log"
                continue
            fi
            writers+="$client "
        fi
        able+="$client "
    done
    for client in $able; do
        if run_client "$client" check "$work/log"; then
            passed "$client/$store"
        else
            failed "$client/$store" "$work/log"
        fi
    done
}

# test_store NAME URL
test_store() {
    local well=true
    if start_server "$2"; then run_clients "$1"; else well=false; fi
    # A server that does not stop cleanly has failed, even if all clients passed.
    stop_server || well=false
    $well || failed "larder/$1" "$work/larder.log"
}

set_up_clients
configure
test_store memory memory
if command -v redis-server >/dev/null; then
    start_redis
    test_store redis "unix://$work/redis.sock"
else
    for client in $chosen; do
        skipped "$client/redis" "redis-server not found"
    done
fi

echo "polyglot: $passed passed, $failed failed, $skipped skipped"
if [[ ${CI-} == true && $skipped != 0 ]]; then
    echo "CI=true: nothing may be skipped" >&2
    exit 1
fi
[[ $failed == 0 ]]
