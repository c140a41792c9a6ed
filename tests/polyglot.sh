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
readonly LANGUAGES="python node go"
readonly OTHERS="java grpcurl health-probe quickstart origins example-rust"
# Clients that make calls while replicas are restarted.
readonly LOADING="python node go java"

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
clients=$repository/tests/polyglot
readonly repository clients

setup_only=false
if [[ ${1-} == --setup ]]; then
    setup_only=true
    shift
fi
chosen=${*:-$LANGUAGES $OTHERS}
for client in $chosen; do
    [[ " $LANGUAGES $OTHERS " == *" $client "* ]] && continue
    echo "usage: tests/polyglot.sh [--setup] [$LANGUAGES $OTHERS]..." >&2
    exit 2
done

larder=${LARDER_BIN:-$repository/target/debug/larder}
[[ $larder == /* ]] || larder=$PWD/$larder
if [[ ! -x $larder && $setup_only == false ]]; then
    echo "$larder not found: run \`cargo build\`, or name another binary with LARDER_BIN" >&2
    exit 2
fi

# Variables of the caller could point the server at a store that the tests must not write to.
while read -r variable; do
    unset "$variable"
done < <(compgen -e | grep -E '^(LARDER|REDIS|OTEL)_' || true)

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-polyglot.XXXXXX")
redis='' origins='' origin_pids='' stores=''

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
    local pid
    # Each store first stops its own client and server.
    for pid in $stores $origin_pids $redis; do
        stop "$pid" || true
    done
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# === Results ===
#
# The stores are tested by two processes, so each result is a line of a file.

passed() {
    echo "ok $1"
    echo passed >>"$work/results"
}

# failed NAME LOG
failed() {
    # One write, so that the output of the two stores does not mix.
    printf '%s\n' "FAILED $1"$'\n'"$(sed 's/^/    /' "$2")"
    echo failed >>"$work/results"
}

# skipped NAME REASON
skipped() {
    echo "SKIPPED $1: $2"
    echo skipped >>"$work/results"
}

# count RESULT
count() { grep -cx "$1" "$work/results" || true; }

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

serving_or_dead() { grep -q '"serving"' "$log" || dead "$server"; }

# logged FIELD: prints an address from the log entry of the server's start.
logged() { sed -n '/"serving"/s/.*"'"$1"'": *"\([^"]*\)".*/\1/p' "$log"; }

# start_server URL: sets `server`, `address` and `admin`. With `certs`, a directory of `larder certs`,
# the server has TLS.
start_server() {
    : >"$log"
    (
        cd "$work"
        if [[ -n ${certs-} ]]; then
            export LARDER_TLS__CERT=$certs/server.crt LARDER_TLS__KEY=$certs/server.key
        fi
        export LARDER_LISTEN=${listen:-127.0.0.1:0} LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_LOG__FORMAT=json
        export LARDER_CONFIG=$work/larder.toml LARDER_STORE=$1
        # No client checks timeouts of the store, and 50 large values at once reach the default
        # timeout on a busy machine.
        export LARDER_STORE__TIMEOUT=10s
        exec "$larder"
    ) >>"$log" 2>&1 &
    server=$!
    until_true 20 serving_or_dead || true
    address=$(logged listen)
    admin=$(logged admin_listen)
    [[ -n $address ]] || echo "the server does not serve" >>"$log"
    [[ -n $address ]]
}

stop_server() {
    local code=0
    stop "$server" || code=$?
    server=''
    [[ $code == 0 ]] || echo "the server ended with exit code $code" >>"$log"
    return "$code"
}

# === Clients ===

# run_client CLIENT COMMAND LOG: in the background, because bash runs no trap during a foreground
# command.
run_client() {
    local code=0
    LARDER_ADDRESS=$address LARDER_ADMIN_ADDRESS=$admin LARDER_WRITERS=${writers-} \
        LARDER_ORIGINS=$origins ORIGIN_DATABASE=$work/users.db \
        "$clients/$1/client.sh" "$2" >"$3" 2>&1 &
    client=$!
    wait "$client" || code=$?
    client=''
    return "$code"
}

# set_up CLIENT...: one after the other.
set_up() {
    local client code
    for client in "$@"; do
        [[ " $chosen " == *" $client "* ]] || continue
        code=0
        "$clients/$client/client.sh" setup >"$work/$client.setup" 2>&1 || code=$?
        echo "$code" >"$work/$client.code"
    done
}

# Runs before any server starts, because an installation can take minutes. Clients that share an
# installation are set up one after the other.
set_up_clients() {
    local pid pids=()
    set_up python quickstart grpcurl origins example-rust &
    pids+=($!)
    set_up node java &
    pids+=($!)
    set_up go health-probe &
    pids+=($!)
    for pid in "${pids[@]}"; do wait "$pid"; done
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
    local store=$1 name able='' writers='' output=$work/$1.client.log
    for name in $chosen; do
        ready "$name" "$store" || continue
        if [[ " $LANGUAGES " == *" $name "* ]]; then
            if ! run_client "$name" write "$output"; then
                failed "$name/$store" "$output"
                continue
            fi
            writers+="$name "
        fi
        able+="$name "
    done
    for name in $able; do
        if run_client "$name" check "$output"; then
            passed "$name/$store"
        else
            failed "$name/$store" "$output"
        fi
    done
}

# === Stores ===

# test_store NAME URL: runs in its own process.
test_store() {
    local well=true
    log=$work/$1.larder.log server='' client=''
    # A background process does not inherit the traps.
    trap 'for pid in $client $server; do stop "$pid" || true; done' EXIT
    trap 'exit 143' TERM
    if start_server "$2"; then run_clients "$1"; else well=false; fi
    # A server that does not stop cleanly has failed, even if all clients passed.
    stop_server || well=false
    $well || failed "larder/$1" "$log"
}

# === Rolling restart ===

# A namespace of its own shows which clients have come back to a replica.
has_calls_of_all() {
    local metrics name
    metrics=$(curl --silent --fail "http://${admins[$1]}/metrics") || return 1
    for name in $loading; do
        grep -q "namespace=\"load-$name\"" <<<"$metrics" || return 1
    done
}

# start_replica NUMBER: on its port, which it had before.
start_replica() {
    local server address admin log=$work/replica-$1.log
    listen=${addresses[$1]} start_server "unix://$work/redis.sock" || return 1
    replicas[$1]=$server
    admins[$1]=$admin
}

# Restarts three replicas one after the other, while clients with round_robin call them. No call may
# fail. Runs in its own process.
restart_replicas() {
    # Not local: the trap runs after the function has returned.
    pids=() replicas=() admins=() addresses=()
    local number name code all_addresses
    trap 'for pid in "${replicas[@]}" "${pids[@]}"; do stop "$pid" || true; done' EXIT
    trap 'exit 143' TERM
    for number in 0 1 2; do addresses+=("127.0.0.1:$(free_port)"); done
    for number in 0 1 2; do start_replica "$number" || return; done
    all_addresses=$(IFS=,; echo "${addresses[*]}")
    for name in $loading; do
        LARDER_STOP=$work/load.stop LARDER_ADDRESSES=$all_addresses \
            "$clients/$name/client.sh" load >"$work/$name.load" 2>&1 &
        pids+=($!)
    done
    for number in 0 1 2; do
        until_true 60 has_calls_of_all "$number" || return
        # A replica must end cleanly.
        stop "${replicas[number]}" || return
        start_replica "$number" || return
        until_true 60 has_calls_of_all "$number" || return
    done
    touch "$work/load.stop"
    code=0
    for name in "${pids[@]}"; do wait "$name" || code=1; done
    pids=()
    cat "${loading_logs[@]}"
    for number in 0 1 2; do stop "${replicas[number]}" || code=1; done
    replicas=()
    return "$code"
}

test_rolling_restart() {
    local name loading='' loading_logs=()
    for name in $chosen; do
        [[ " $LOADING " == *" $name "* ]] || continue
        [[ $(<"$work/$name.code") == 0 ]] || continue
        loading+="$name "
        loading_logs+=("$work/$name.load")
    done
    [[ -n $loading ]] || return 0
    if (restart_replicas) >"$work/rolling.log" 2>&1; then
        passed "rolling restart ($(sed -nE 's/^calls=([0-9]+) .*/\1/p' "$work/rolling.log" |
            paste -sd+ | bc) calls of ${loading% })"
    else
        tail -n 20 "${loading_logs[@]}" "$work"/replica-*.log >>"$work/rolling.log" 2>&1 || true
        failed "rolling restart" "$work/rolling.log"
    fi
}

# === Rotation of certificates ===

# make_certificates: replaces the certificate of the replicas.
make_certificates() {
    "$larder" certs --out "$certs" --force --host larder --host 127.0.0.1 >>"$work/certs.log"
}

# has_replaced COUNT: whether each replica has replaced its certificate so often.
has_replaced() {
    local number found
    for number in 0 1; do
        found=$(grep -c 'a certificate was replaced' "$work/replica-$number.log" || true)
        ((found >= $1)) || return 1
    done
}

# Number of TLS sessions that all replicas have begun.
sessions() {
    local number
    for number in 0 1; do
        curl --silent --fail "http://${admins[number]}/metrics"
    done | sed -nE 's/^larder_tls_handshakes_total\{.*result="(full|resumed)".*\} //p' | paste -sd+ | bc
}

has_sessions() { (($(sessions) >= $1)); }

# Replaces the certificates of two replicas while clients connect to them again and again. No call may
# fail. Runs in its own process.
rotate_certificates() {
    # Not local: the trap runs after the function has returned.
    pids=() replicas=() admins=() addresses=() certs=$work/certs
    local number name code all_addresses
    trap 'for pid in "${replicas[@]}" "${pids[@]}"; do stop "$pid" || true; done' EXIT
    trap 'exit 143' TERM
    make_certificates
    for number in 0 1; do addresses+=("127.0.0.1:$(free_port)"); done
    for number in 0 1; do start_replica "$number" || return; done
    all_addresses=$(IFS=,; echo "${addresses[*]}")
    for name in $loading; do
        LARDER_STOP=$work/rotation.stop LARDER_ADDRESSES=$all_addresses LARDER_TLS_CA=$certs/ca.crt \
            "$clients/$name/client.sh" load >"$work/$name.rotation" 2>&1 &
        pids+=($!)
    done
    for number in 0 1; do until_true 60 has_calls_of_all "$number" || return; done
    for number in 1 2 3; do
        make_certificates
        # By the interval of the replicas, and by a signal.
        if ((number == 2)); then kill -HUP "${replicas[@]}"; fi
        until_true 60 has_replaced "$number" || return
        # All clients have connected again.
        until_true 60 has_sessions "$(($(sessions) + 4 * ${#pids[@]}))" || return
    done
    touch "$work/rotation.stop"
    code=0
    for name in "${pids[@]}"; do wait "$name" || code=1; done
    pids=()
    cat "${loading_logs[@]}"
    for number in 0 1; do stop "${replicas[number]}" || code=1; done
    replicas=()
    return "$code"
}

test_rotation() {
    local name loading='' loading_logs=()
    for name in $chosen; do
        [[ " $LOADING " == *" $name "* ]] || continue
        [[ $(<"$work/$name.code") == 0 ]] || continue
        loading+="$name "
        loading_logs+=("$work/$name.rotation")
    done
    [[ -n $loading ]] || return 0
    if (rotate_certificates) >"$work/rotation.log" 2>&1; then
        passed "rotation of certificates ($(sed -nE 's/^calls=([0-9]+) .*/\1/p' "$work/rotation.log" |
            paste -sd+ | bc) calls of ${loading% })"
    else
        tail -n 20 "${loading_logs[@]}" "$work"/replica-*.log "$work/certs.log" \
            >>"$work/rotation.log" 2>&1 || true
        failed "rotation of certificates" "$work/rotation.log"
    fi
}

set_up_clients
if [[ $setup_only == true ]]; then
    for client in $chosen; do ready "$client" setup || true; done
    exit
fi
: >"$work/results"
configure
test_store memory memory &
stores=$!
if command -v redis-server >/dev/null; then
    start_redis
    test_store redis "unix://$work/redis.sock" &
    stores+=" $!"
else
    for client in $chosen; do
        skipped "$client/redis" "redis-server not found"
    done
fi
for store in $stores; do wait "$store"; done
stores=''
if [[ -n $redis ]]; then
    test_rolling_restart
    test_rotation
fi

echo "polyglot: $(count passed) passed, $(count failed) failed, $(count skipped) skipped"
if [[ ${CI-} == true && $(count skipped) != 0 ]]; then
    echo "CI=true: nothing may be skipped" >&2
    exit 1
fi
[[ $(count failed) == 0 ]]
