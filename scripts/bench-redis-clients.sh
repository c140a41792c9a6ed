#!/usr/bin/env bash
# Compares Redis clients by the command of a Get, and writes a table to
# target/bench/redis-clients.md.
#
# The client runs on core 0, Redis on core 1. The clients run alternately, round by round, and
# medians are compared. See docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly ROUNDS=${ROUNDS:-5} SECONDS_EACH=${SECONDS_EACH:-2}
readonly OUT=target/bench BIN=target/bench/redis-clients/release/redis-clients
readonly LIBRARIES=(redis-rs fred rustis own)
# Connections and tasks: one task cannot use a second connection.
IFS=, read -ra loads <<<"${LOADS:-1 1,1 16,1 256,4 16,4 256}"
read -ra transports <<<"${TRANSPORTS:-unix tcp}"
mkdir -p "$OUT"

work=$(mktemp -d)
redis=
cleanup() {
  [[ -z $redis ]] || kill "$redis" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  echo "bench-redis-clients: $1" >&2
  exit 1
}

# start_redis: starts Redis on a unix socket and on a free port.
start_redis() {
  local deadline=$((SECONDS + 10))
  while ((SECONDS < deadline)); do
    if [[ -z $redis ]] || ! kill -0 "$redis" 2>/dev/null; then
      port=$((20000 + RANDOM % 10000))
      taskset -c 1 redis-server --bind 127.0.0.1 --port "$port" --unixsocket "$work/redis.sock" \
        --save "" --appendonly no --daemonize no >"$work/redis.log" &
      redis=$!
    fi
    # Redis binds the port before the socket.
    if redis-cli -s "$work/redis.sock" ping >/dev/null 2>&1; then return; fi
  done
  fail "Redis does not start: $(tail -n 1 "$work/redis.log")"
}

# median FILE COLUMN
median() {
  cut -d ' ' -f "$2" "$1" | sort -g | awk '{ v[NR] = $1 }
    END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

echo "building (release)" >&2
cargo build --release --locked --quiet --manifest-path benches/redis-clients/Cargo.toml \
  --target-dir target/bench/redis-clients

start_redis
declare -A address=([unix]="$work/redis.sock" [tcp]="127.0.0.1:$port")
"$BIN" load "${address[unix]}"

for round in $(seq "$ROUNDS"); do
  echo "round $round of $ROUNDS" >&2
  for transport in "${transports[@]}"; do
    for load in "${loads[@]}"; do
      read -r connections tasks <<<"$load"
      for library in "${LIBRARIES[@]}"; do
        # The program warms up first, and fails unless each reply is the stored value.
        taskset -c 0 "$BIN" "$library" "${address[$transport]}" "$connections" "$tasks" \
          "$SECONDS_EACH" >>"$work/$transport-$connections-$tasks-$library"
      done
    done
  done
done

{
  echo "| connections x tasks | client | operations/s | ratio |" \
    "client CPU per operation | ratio | p50 | p99 |"
  echo "|---|---|---|---|---|---|---|---|"
  for transport in "${transports[@]}"; do
    for load in "${loads[@]}"; do
      read -r connections tasks <<<"$load"
      first="$work/$transport-$connections-$tasks-${LIBRARIES[0]}"
      for library in "${LIBRARIES[@]}"; do
        file="$work/$transport-$connections-$tasks-$library"
        awk -v load="$transport, $connections x $tasks" -v library="$library" \
          -v ops="$(median "$file" 1)" -v cpu="$(median "$file" 2)" \
          -v p50="$(median "$file" 3)" -v p99="$(median "$file" 4)" \
          -v first_ops="$(median "$first" 1)" -v first_cpu="$(median "$first" 2)" 'BEGIN {
            printf "| %s | %s | %.0f | %.2f |", load, library, ops, ops / first_ops
            printf " %.2f us | %.2f | %.0f us | %.0f us |\n", cpu, cpu / first_cpu, p50, p99
          }'
      done
    done
  done
} | tee "$OUT/redis-clients.md"
