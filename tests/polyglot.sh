#!/usr/bin/env bash
# Runs clients in several languages, written as their users would, against the real server: once on the embedded store
# and once on a Redis that is started here.
#
#   tests/polyglot.sh             every client
#   tests/polyglot.sh python go   these only
#
# LARDER_BIN is the server to test (target/debug/larder by default). A client whose toolchain is not on the machine is
# skipped by name; with CI=true that counts as a failure, so that nothing stops being tested without anybody noticing.

set -euo pipefail

# Languages write entries that all of them read; the others only look.
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

# A server that is configured by whoever runs this could reach a store that is not ours to write to.
while read -r variable; do
    unset "$variable"
done < <(compgen -e | grep -E '^(LARDER|REDIS|OTEL)_' || true)

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-polyglot.XXXXXX")
server='' redis='' origins='' origin_pids='' passed=0 failed=0 skipped=0

# until_true SECONDS COMMAND...: asks again until the command succeeds.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

dead() { ! kill -0 "$1" 2>/dev/null; }

# stop PID: asks to stop, waits, and answers the exit code.
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

# === Verdicts ===

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

# === What is tested ===

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

free_port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Its own error says that nobody listens yet.
listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
listens_or_dead() { listens "$1" || dead "$2"; }

# start_origin NAME: on a port that nothing uses; another process may take it first. Sets `port`.
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

# What the clients' checks expect of the server.
configure() {
    local name port
    {
        # What the checks of stale values use.
        printf '[namespaces.stale]\nstale_while_revalidate = "10m"\n'
        # Every check has a namespace of its own, and some look at its figures.
        printf '[telemetry]\nmax_namespaces = 2000\n'
    } >"$work/larder.toml"
    for name in $("$clients/origins/client.sh" available); do
        start_origin "$name"
        origins+="$name "
        {
            printf '[namespaces.origin-%s.origin]\n' "$name"
            case $name in
            http) printf 'url = "http://127.0.0.1:%s/{key}?{params}"\nbreaker_threshold = 0\n' "$port" ;;
            *) printf 'grpc = "http://127.0.0.1:%s"\n' "$port" ;;
            esac
        } >>"$work/larder.toml"
    done
}

serving_or_dead() { grep -q '"serving"' "$work/larder.log" || dead "$server"; }

# told FIELD: an address that the server's log says it listens on.
told() { sed -n '/"serving"/s/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "$work/larder.log"; }

# start_server URL: sets `server`, `address` and `admin`.
start_server() {
    # The log of the server before this one must not be taken for its own.
    : >"$work/larder.log"
    (
        cd "$work"
        export LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_LOG__FORMAT=json LARDER_STORE=$1
        export LARDER_CONFIG=$work/larder.toml
        # No client checks what becomes of a store that is late, and on a busy machine 50 large values at once are.
        export LARDER_STORE__TIMEOUT=10s
        exec "$larder"
    ) >>"$work/larder.log" 2>&1 &
    server=$!
    until_true 20 serving_or_dead || true
    address=$(told listen)
    admin=$(told admin_listen)
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
    LARDER_ADDRESS=$address LARDER_ADMIN_ADDRESS=$admin LARDER_WRITERS=${writers-} LARDER_ORIGINS=$origins \
        ORIGIN_DATABASE=$work/users.db "$clients/$1/client.sh" "$2" >"$3" 2>&1
}

# Decided once, before any server runs: installing can take minutes, and is not what is being tested.
set_up_clients() {
    local client code
    for client in $chosen; do
        code=0
        "$clients/$client/client.sh" setup >"$work/$client.setup" 2>&1 || code=$?
        echo "$code" >"$work/$client.code"
    done
}

# ready CLIENT STORE: whether there is anything to run; if not, says why.
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
    # A server that cannot be stopped in good order has failed too, whatever its answers were.
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
