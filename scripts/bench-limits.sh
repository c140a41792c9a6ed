#!/usr/bin/env bash
# What happens to Larder with more cores, connections, keys and callers, and writes a table to target/bench/limits.md.
#
# See docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/bench-lib.sh
source scripts/bench-lib.sh
readonly SHAPES=(1x32 1x256 8x32 64x32 250x32 1000x32)
readonly KEYS=${KEYS:-10000000} CONNECTIONS=${CONNECTIONS:-10000}

build
ulimit -n "$(ulimit -H -n)"
start_redis 1
start_baseline
near=LARDER_NAMESPACES__BENCH__NEAR_CACHE__MAX_STALENESS=1s
"$BASELINE" frame "$work/Get.frame" Get

# cpu_us SERVER COMMAND...: runs a load that prints how many requests were answered, and prints the server's CPU per request.
cpu_us() {
  local before after answered
  before=$(cpu_ns "${pid[$1]}")
  read -r answered _ < <("${@:2}")
  after=$(cpu_ns "${pid[$1]}")
  awk -v n="$answered" -v ns=$((after - before)) 'BEGIN { printf "%.2f\n", ns / n / 1000 }'
}

gets() { load "$1" "$2" Get "$PATH_PREFIX/Get" "$3" "${4:-1}"; }

rounds_of() { for _ in $(seq "$ROUNDS"); do "$@"; done | median; }

row() { awk -v title="$1" -v value="$2" -v target="$3" 'BEGIN { printf "| %s | %s | %s |\n", title, value, target }'; }

ratio() { awk -v one="$1" -v two="$2" 'BEGIN { printf "%.2f", one / two }'; }

echo "cores" >&2
start_larder one "unix://$redis_socket" "$near" LARDER_LIMITS__MAX_CONCURRENT_REQUESTS=100000
cores=0,1 start_larder two "unix://$redis_socket" "$near"
for server in one two; do
  "$BASELINE" load "${address[$server]}"
  "$BASELINE" check "${address[$server]}"
done
one_core=$(rounds_of cpu_us one gets 8 32 "${address[one]}")
two_cores=$(rounds_of cpu_us two gets 8 32 "${address[two]}" 0,1)

echo "connections" >&2
declare -A per_request
for shape in "${SHAPES[@]}"; do
  for server in bare one; do
    per_request[$server,$shape]=$(rounds_of cpu_us "$server" gets "${shape%x*}" "${shape#*x}" "${address[$server]}")
  done
done

echo "idle connections" >&2
start_larder crowd memory "LARDER_LIMITS__MAX_CONNECTIONS=$((CONNECTIONS + 100))"
idle_before=$(rss_mb "${pid[crowd]}")
# Nothing is ever written to it, so the input does not end before the benchmark does.
mkfifo "$work/end"
"$BASELINE" idle "${address[crowd]}" "$CONNECTIONS" >"$work/idle.out" <>"$work/end" &
pids+=($!)
until_true grep -q open "$work/idle.out"
idle_after=$(rss_mb "${pid[crowd]}")

echo "overload" >&2
start_larder bounded "unix://$redis_socket" LARDER_LIMITS__MAX_CONCURRENT_REQUESTS=256 LARDER_LIMITS__MAX_STREAMS_PER_CONNECTION=1024
"$BASELINE" load "${address[bounded]}"
# Whoever is sent away gets no value, so the values tell how many were served.
served() {
  local answered data
  read -r answered data < <(gets 8 "$1" "${address[bounded]}")
  awk -v data="$data" -v answered="$answered" -v s="$SECONDS_EACH" -v value="$value_bytes" 'BEGIN {
    away = answered - data / value
    printf "%.0f %.0f\n", data / value / s, (away > 0 ? away : 0) / s
  }'
}
value_bytes=$(gets 1 1 "${address[bounded]}" | awk '{ print $2 / $1 }')
peak=$(for _ in $(seq "$ROUNDS"); do served 32 | cut -d ' ' -f 1; done | median)
for _ in $(seq "$ROUNDS"); do served 128; done >"$work/overload"
goodput=$(cut -d ' ' -f 1 "$work/overload" | median) shed=$(cut -d ' ' -f 2 "$work/overload" | median)

echo "keys" >&2
start_larder many memory LARDER_MEMORY__MAX_BYTES=16GiB
"$BASELINE" fill "${address[many]}" 1000
few_keys=$(rounds_of cpu_us many taskset -c 1 "$BASELINE" spread "${address[many]}" 1000 "$SECONDS_EACH")
"$BASELINE" fill "${address[many]}" "$KEYS"
many_keys=$(rounds_of cpu_us many taskset -c 1 "$BASELINE" spread "${address[many]}" "$KEYS" "$SECONDS_EACH")
many_memory=$(rss_mb "${pid[many]}")

{
  echo "| | measured | target |"
  echo "|---|---|---|"
  row "near hits: CPU per request with one core / with two" "$one_core / $two_cores us" ""
  row "near hits that two cores have time for, over one" "$(ratio "$(awk -v one="$one_core" 'BEGIN { print 2 * one }')" "$two_cores")" "1.7"
  for shape in "${SHAPES[@]}"; do
    row "near hits, ${shape%x*} connections of ${shape#*x} streams: CPU per request (the bare server's)" \
      "${per_request[one,$shape]} us (${per_request[bare,$shape]} us)" ""
  done
  row "$CONNECTIONS idle connections: memory (RSS) before / with them" "$idle_before / $idle_after MB" "300 MB"
  row "Get from Redis, limit of 256 at once: answers/s with 256 callers" "$peak" ""
  row "the same with 1,024 callers: answers/s (over the former) and sent away/s" "$goodput ($(ratio "$goodput" "$peak")), $shed" "0.9"
  row "embedded, random keys of 1,000 / of $KEYS: CPU per request" "$few_keys / $many_keys us ($(ratio "$many_keys" "$few_keys"))" ""
  row "memory (RSS) with $KEYS entries of 100 B" "$many_memory MB" ""
} | tee "$OUT/limits.md"
