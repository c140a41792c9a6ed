#!/usr/bin/env bash
# A fleet to look at: three replicas on a Redis of their own, an API that fails at times, and callers
# of nine namespaces with stampedes, invalidations and events.
#
#   scripts/demo.sh                      runs until Ctrl-C, or `scripts/demo.sh stop`
#   scripts/demo.sh --seconds 60         ends by itself
#   scripts/demo.sh stop                 ends the demo that runs, and all that belongs to it
#
#   --port PORT          gRPC ports of the replicas: PORT, PORT+1 and PORT+2; otherwise free ones
#   --admin-port PORT    the same for the admin ports
#   --redis-port PORT    port of Redis; otherwise it has only a socket in the folder of the demo
#   --prometheus-port PORT   also runs Prometheus on this port, with the alerts, for Grafana
#
# Everything it writes is in one folder (LARDER_DEMO_DIR), which it removes at the end. LARDER_BIN and
# LARDER_DEMO_BIN are programs to use in place of those that it builds.
set -euo pipefail

readonly REPLICAS=3
readonly START_SECONDS=30 STOP_SECONDS=30
readonly EX_USAGE=2

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
state=${LARDER_DEMO_DIR:-${TMPDIR:-/tmp}/larder-demo-$(id -u)}
readonly repository state

fail() {
    echo "demo: $1" >&2
    exit "${2:-1}"
}

# until_true SECONDS COMMAND...: repeats the command until it succeeds or the time is over.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

alive() { kill -0 "$1" 2>/dev/null; }
dead() { ! alive "$1"; }
# gone_or_dead FILE PID, and made_or_dead FILE PID: whether there is no need to wait any longer.
gone_or_dead() { [[ ! -e $1 ]] || dead "$2"; }
made_or_dead() { [[ -e $1 ]] || dead "$2"; }

# began PID: the time at which the process began. It distinguishes a later one with the same number.
began() { ps -o lstart= -p "$1" 2>/dev/null; }

# end PID: ends a process and waits for it.
end() {
    kill -TERM "$1" 2>/dev/null || return 0
    until_true "$STOP_SECONDS" dead "$1" || kill -KILL "$1" 2>/dev/null || true
}

# === stop ===

stop() {
    local pid time script=''
    [[ -d $state ]] || fail "no demo runs"
    script=$(cat "$state/pid" 2>/dev/null || true)
    if [[ -n $script ]] && alive "$script"; then
        kill -TERM "$script"
        # The script removes the folder last.
        until_true "$((REPLICAS * STOP_SECONDS))" gone_or_dead "$state/pid" "$script" ||
            fail "process $script does not end"
    fi
    # Left over from a script that was killed.
    if [[ -f $state/pids ]]; then
        while read -r pid time; do
            if [[ $(began "$pid" | xargs) == "$time" ]]; then end "$pid"; fi
        done <"$state/pids"
    fi
    rm -rf -- "$state"
    echo "demo: stopped"
}

# === start ===

seconds='' port='' admin_port='' redis_port='' prometheus_port=''
pids=()

clean_up() {
    local pid
    trap '' INT TERM
    # Callers first, so that none of their calls fails.
    for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
        pid=${pids[index]}
        kill -TERM "$pid" 2>/dev/null || true
        until_true "$STOP_SECONDS" dead "$pid" || kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf -- "$state"
}

# start NAME COMMAND...: in the background, with its output in a file. A signal of the terminal
# reaches this script only.
start() {
    local name=$1
    shift
    set -m
    "$@" >"$state/$name.log" 2>&1 </dev/null &
    set +m
    pids+=($!)
    echo "$! $(began "$!" | xargs)" >>"$state/pids"
}

# await NAME FILE: waits until the program that was started last has made a file.
await() {
    until_true "$START_SECONDS" made_or_dead "$2" "${pids[-1]}" || true
    [[ -e $2 ]] && return
    cat "$state/$1.log" >&2
    fail "$1 did not start"
}

build() {
    larder=${LARDER_BIN:-$repository/target/debug/larder}
    callers=${LARDER_DEMO_BIN:-$repository/target/debug/larder-demo}
    if [[ -z ${LARDER_BIN-} || -z ${LARDER_DEMO_BIN-} ]]; then
        "$repository/scripts/setup.sh" build test
        # The selection of `make run`, so that nothing is built twice.
        (cd "$repository" && cargo build --locked -p larder -p demo)
    fi
    command -v redis-server >/dev/null || fail "redis-server not found: run scripts/setup.sh test"
    [[ -z $prometheus_port ]] || command -v prometheus >/dev/null ||
        fail "prometheus not found: run scripts/setup.sh test"
}

start_redis() {
    start redis redis-server --dir "$state" --save "" --appendonly no \
        --port "${redis_port:-0}" --bind 127.0.0.1 --unixsocket "$state/redis.sock" \
        --maxmemory 256mb --maxmemory-policy volatile-lru
    await redis "$state/redis.sock"
}

# configure ORIGIN NUMBER: the file of a replica, which has an audit log of its own.
configure() {
    cat >"$state/larder-$2.toml" <<TOML
shutdown_timeout = "2s"

[audit]
to = "$state/audit-$2.jsonl"
keys = "plain"

[namespaces.users]
ttl = "10s"
stale_while_revalidate = "20s"
stale_if_error = "1h"
[namespaces.users.origin]
url = "http://$1/users/{key}"
[namespaces.users.origin.warm]
keys = [$(seq --separator=', ' --format='"%g"' 0 49)]
[namespaces.users.near_cache]
max_bytes = "16MiB"

[namespaces.prices]
ttl = "2s"
stale_while_revalidate = "5s"
stale_if_error = "10m"
[namespaces.prices.origin]
url = "http://$1/prices/{key}"
breaker_cooldown = "2s"

# Far too short: the analysis finds it.
[namespaces.products]
ttl = "1s"
[namespaces.products.origin]
url = "http://$1/products/{key}"

[namespaces.search]
ttl = "1m"
[namespaces.search.origin]
url = "http://$1/search/{key}"
negative_ttl = "5s"

[namespaces.sessions]
ttl = "30s"

[namespaces.pages]
ttl = "1m"

# What takes the memory is hardly read: the analysis finds it.
[namespaces.images]
ttl = "20s"

[namespaces.reports]
ttl = "5m"

[namespaces.counters]
ttl = "1h"

[[events.price_changed]]
namespace = "prices"
key = "{id}"
TOML
}

# start_replica NUMBER: its addresses are in the file replica-NUMBER.
start_replica() {
    local listen=127.0.0.1:0 admin=127.0.0.1:0
    [[ -z $port ]] || listen=127.0.0.1:$((port + $1))
    [[ -z $admin_port ]] || admin=127.0.0.1:$((admin_port + $1))
    start "replica-$1" "$larder" serve --config "$state/larder-$1.toml" \
        --store "unix://$state/redis.sock" --listen "$listen" --admin-listen "$admin" \
        --port-file "$state/replica-$1"
}

# is_ready: whether Prometheus answers.
is_ready() { (exec 3<>"/dev/tcp/127.0.0.1/$prometheus_port") 2>/dev/null; }
is_ready_or_dead() { is_ready || dead "${pids[-1]}"; }

start_prometheus() {
    local targets='' number
    ! is_ready || fail "port $prometheus_port, of --prometheus-port, is in use"
    for ((number = 0; number < REPLICAS; number++)); do
        targets+=", '$(address "$number" LARDER_ADMIN_LISTEN)'"
    done
    cat >"$state/prometheus.yml" <<YAML
global: {scrape_interval: 5s, evaluation_interval: 5s}
rule_files: ['$repository/deploy/prometheus/rules/*.yml']
scrape_configs:
  - job_name: larder
    static_configs:
      - targets: [${targets#, }]
YAML
    start prometheus prometheus --config.file="$state/prometheus.yml" \
        --storage.tsdb.path="$state/prometheus" --storage.tsdb.retention.size=256MB \
        --enable-feature=exemplar-storage --web.listen-address="127.0.0.1:$prometheus_port"
    until_true "$START_SECONDS" is_ready_or_dead || true
    alive "${pids[-1]}" && is_ready && return
    tail -n 3 "$state/prometheus.log" >&2
    fail "prometheus did not start"
}

# address NUMBER NAME
address() { sed -n "s/^$2=//p" "$state/replica-$1"; }

show() {
    local number first command
    first=$(address 0 LARDER_LISTEN)
    command=${larder/#"$repository/"/}
    echo "Larder demo: $REPLICAS replicas, Redis, an API, and callers of nine namespaces"
    echo
    for ((number = 0; number < REPLICAS; number++)); do
        printf '  replica %d   gRPC %s   admin http://%s\n' "$number" \
            "$(address "$number" LARDER_LISTEN)" "$(address "$number" LARDER_ADMIN_LISTEN)"
    done
    echo "  Redis       ${redis_port:+127.0.0.1:$redis_port   }$state/redis.sock"
    if [[ $prometheus_port ]]; then
        echo "  Prometheus  http://127.0.0.1:$prometheus_port   Grafana: docs/demo.md"
    else
        echo "  Prometheus  --prometheus-port 9090 runs one, or scrape /metrics of the admin ports"
    fi
    echo "  events      $state/callers.log"
    echo
    echo "The dashboard is at http://$(address 0 LARDER_ADMIN_LISTEN)/. Try, in another terminal:"
    cat <<TEXT

  export LARDER_ADDRESS=$first
  $command top
  $command stats
  $command namespaces
  $command hot-keys users
  $command analyze products           # after two minutes
  $command audit
  $command warm users
  $command inspect prices 0
  $command invalidate users --tag team-7
  $command watch users prices
  redis-cli -s $state/redis.sock client pause 5000
  tail -f $state/callers.log
  scripts/demo.sh stop

Each minute, prices fail for 15 s; one of a hundred requests for a user fails; each 5 s, 40 callers
need the same report.
TEXT
}

run() {
    local number addresses=''
    build
    # Only one script makes the folder.
    mkdir -m 700 "$state" 2>/dev/null ||
        fail "a demo runs already, or was killed: scripts/demo.sh stop ends it ($state)"
    trap clean_up EXIT
    trap 'exit 0' INT TERM
    echo $$ >"$state/pid"
    # Variables of the caller are for another server.
    while read -r variable; do
        unset "$variable"
    done < <(compgen -e | grep -E '^(LARDER|REDIS|OTEL)_' || true)
    start_redis
    start origin "$callers" origin --port-file "$state/origin"
    await origin "$state/origin"
    for ((number = 0; number < REPLICAS; number++)); do
        configure "$(<"$state/origin")" "$number"
        start_replica "$number"
        await "replica-$number" "$state/replica-$number"
        addresses+=,$(address "$number" LARDER_LISTEN)
    done
    [[ -z $prometheus_port ]] || start_prometheus
    start callers "$callers" callers --address "${addresses#,}" ${seconds:+--seconds "$seconds"}
    show
    watch_processes
}

fail_with_logs() {
    tail -n 3 "$state"/*.log >&2
    fail "process $1 has ended"
}

# Ends with the callers. Any other process that ends is a fault.
watch_processes() {
    local last=${pids[-1]} code=0 pid
    while alive "$last"; do
        for pid in "${pids[@]}"; do
            alive "$pid" || dead "$last" || fail_with_logs "$pid"
        done
        sleep 0.2
    done
    wait "$last" || code=$?
    tail -n 1 "$state/callers.log"
    return "$code"
}

# number SHOWN VALUE: the value of a flag.
number() {
    [[ $2 =~ ^0*[1-9][0-9]{0,6}$ ]] || fail "$1 needs a number, not '$2'" "$EX_USAGE"
    echo "$((10#$2))"
}

port() {
    local value
    value=$(number "$1" "$2") || exit
    ((value <= 65533)) || fail "$1 needs a port below 65534, not '$2'" "$EX_USAGE"
    echo "$value"
}

usage="usage: scripts/demo.sh [--seconds N] [--port P] [--admin-port P] [--redis-port P]
       [--prometheus-port P] | stop"
if [[ ${1-} == stop ]]; then
    (($# == 1)) || fail "$usage" "$EX_USAGE"
    stop
    exit
fi
while (($# > 0)); do
    (($# >= 2)) || fail "$usage" "$EX_USAGE"
    case $1 in
    --seconds) seconds=$(number "$1" "$2") ;;
    --port) port=$(port "$1" "$2") ;;
    --admin-port) admin_port=$(port "$1" "$2") ;;
    --redis-port) redis_port=$(port "$1" "$2") ;;
    --prometheus-port) prometheus_port=$(port "$1" "$2") ;;
    *) fail "$usage" "$EX_USAGE" ;;
    esac
    shift 2
done
run
