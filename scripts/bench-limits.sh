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

# cpu_us SERVERS COMMAND...: runs a load that prints how many requests were answered, and prints the servers' CPU per request.
cpu_us() {
  local before after answered server processes=()
  for server in ${1//,/ }; do processes+=("${pid[$server]}"); done
  before=$(cpu_ns "${processes[@]}")
  read -r answered _ < <("${@:2}")
  after=$(cpu_ns "${processes[@]}")
  awk -v n="$answered" -v ns=$((after - before)) 'BEGIN { printf "%.2f\n", ns / n / 1000 }'
}

gets() { load "$1" "$2" Get "$PATH_PREFIX/Get" "$3" "${4:-1}"; }

# gets_of_both CONNECTIONS STREAMS SERVER SERVER: the same load on two servers at once.
gets_of_both() {
  gets "$1" "$2" "${address[$3]}" 0,1 >"$work/both.$3" &
  gets "$1" "$2" "${address[$4]}" 0,1 >"$work/both.$4"
  wait $!
  cat "$work/both.$3" "$work/both.$4" | awk '{ answered += $1; data += $2 } END { print answered, data }'
}

rounds_of() { for _ in $(seq "$ROUNDS"); do "$@"; done | median; }

# Takes turns: in_turns NAME=COMMAND...; leaves the median of what each prints in $result.
declare -A result
in_turns() {
  local turn name
  for _ in $(seq "$ROUNDS"); do
    for turn in "$@"; do ${turn#*=} >>"$work/turns.${turn%%=*}"; done
  done
  for turn in "$@"; do
    name=${turn%%=*}
    result[$name]=$(median <"$work/turns.$name")
    rm "$work/turns.$name"
  done
}

row() { awk -v title="$1" -v value="$2" -v target="$3" 'BEGIN { printf "| %s | %s | %s |\n", title, value, target }'; }

ratio() { awk -v one="$1" -v two="$2" 'BEGIN { printf "%.2f", one / two }'; }

echo "cores" >&2
start_larder one "unix://$redis_socket" "$near" LARDER_LIMITS__MAX_CONCURRENT_REQUESTS=100000
cores=0,1 start_larder two "unix://$redis_socket" "$near"
cores=0 start_larder left "unix://$redis_socket" "$near"
cores=1 start_larder right "unix://$redis_socket" "$near"
for server in one two left right; do
  "$BASELINE" load "${address[$server]}"
  "$BASELINE" check "${address[$server]}"
done
in_turns "one=cpu_us one gets 8 32 ${address[one]}" "two=cpu_us two gets 8 32 ${address[two]} 0,1" \
  "apart=cpu_us left,right gets_of_both 4 32 left right"
one_core=${result[one]} two_cores=${result[two]}

echo "connections" >&2
turns=()
for shape in "${SHAPES[@]}"; do
  for server in bare one; do turns+=("$server,$shape=cpu_us $server gets ${shape/x/ } ${address[$server]}"); done
done
in_turns "${turns[@]}"

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
  read -r answered data < <(gets 8 "$2" "${address[$1]}")
  awk -v data="$data" -v answered="$answered" -v s="$SECONDS_EACH" -v value="${value_bytes[$1]}" 'BEGIN {
    away = answered - data / value
    printf "%.0f %.0f\n", data / value / s, (away > 0 ? away : 0) / s
  }'
}
away() { served "$@" | cut -d ' ' -f 2; }
declare -A value_bytes
for server in bounded bare; do value_bytes[$server]=$(gets 1 1 "${address[$server]}" | awk '{ print $2 / $1 }'); done
in_turns "peak=served bounded 32" "goodput=served bounded 128" "crowd=served bounded 512" \
  "bare_peak=served bare 32" "bare_goodput=served bare 128"
shed=$(away bounded 128) crowd_shed=$(away bounded 512)

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
  row "the same with a process for each of two cores" "${result[apart]} us" ""
  row "near hits that two cores have time for, over one" "$(ratio "$(awk -v one="$one_core" 'BEGIN { print 2 * one }')" "$two_cores")" "1.7"
  for shape in "${SHAPES[@]}"; do
    row "near hits, ${shape%x*} connections of ${shape#*x} streams: CPU per request (the bare server's)" \
      "${result[one,$shape]} us (${result[bare,$shape]} us)" ""
  done
  row "$CONNECTIONS idle connections: memory (RSS) before / with them" "$idle_before / $idle_after MB" "300 MB"
  row "Get from Redis, limit of 256 at once: answers/s with 256 callers" "${result[peak]}" ""
  row "the same with 1,024 callers: answers/s (over the former) and sent away/s" "${result[goodput]} ($(ratio "${result[goodput]}" "${result[peak]}")), $shed" "0.9"
  row "the same with 4,096 callers" "${result[crowd]} ($(ratio "${result[crowd]}" "${result[peak]}")), $crowd_shed" ""
  row "the bare server, which has no limit, with 1,024 callers over 256" "$(ratio "${result[bare_goodput]}" "${result[bare_peak]}")" ""
  row "embedded, random keys of 1,000 / of $KEYS: CPU per request" "$few_keys / $many_keys us ($(ratio "$many_keys" "$few_keys"))" ""
  row "memory (RSS) with $KEYS entries of 100 B" "$many_memory MB" ""
} | tee "$OUT/limits.md"
