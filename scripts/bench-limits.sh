#!/usr/bin/env bash
# Measures Larder with more cores, connections, keys and callers, and writes a table to
# target/bench/limits.md. See docs/benchmarks.md.
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

# cpu_us SERVERS COMMAND...: runs a load that prints its number of responses, and prints the CPU of
# the servers per request.
cpu_us() {
  local before after answered server processes=()
  for server in ${1//,/ }; do processes+=("${pid[$server]}"); done
  before=$(cpu_ns "${processes[@]}")
  read -r answered _ < <("${@:2}")
  after=$(cpu_ns "${processes[@]}")
  awk -v n="$answered" -v ns=$((after - before)) 'BEGIN { printf "%.2f\n", ns / n / 1000 }'
}

gets() { load "$1" "$2" Get "$PATH_PREFIX/Get" "$3" "${4:-1}"; }

# gets_of_both CONNECTIONS STREAMS SERVER SERVER: the same load on two servers concurrently.
gets_of_both() {
  gets "$1" "$2" "${address[$3]}" 0,1 >"$work/both.$3" &
  gets "$1" "$2" "${address[$4]}" 0,1 >"$work/both.$4"
  wait $!
  cat "$work/both.$3" "$work/both.$4" |
    awk '{ answered += $1; data += $2 } END { print answered, data }'
}

rounds_of() { for _ in $(seq "$ROUNDS"); do "$@"; done | median; }

# interleaved NAME=COMMAND...: runs the commands alternately, round by round, and sets $result[NAME]
# to the median of the command's output.
declare -A result
interleaved() {
  local pair name
  for _ in $(seq "$ROUNDS"); do
    for pair in "$@"; do ${pair#*=} >>"$work/rounds.${pair%%=*}"; done
  done
  for pair in "$@"; do
    name=${pair%%=*}
    result[$name]=$(median <"$work/rounds.$name")
    rm "$work/rounds.$name"
  done
}

# row TITLE VALUE [TARGET]
row() {
  awk -v title="$1" -v value="$2" -v target="${3:-}" \
    'BEGIN { printf "| %s | %s | %s |\n", title, value, target }'
}

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
interleaved "one=cpu_us one gets 8 32 ${address[one]}" \
  "two=cpu_us two gets 8 32 ${address[two]} 0,1" \
  "apart=cpu_us left,right gets_of_both 4 32 left right"
one_core=${result[one]} two_cores=${result[two]}

echo "connections" >&2
commands=()
for shape in "${SHAPES[@]}"; do
  for server in bare one; do
    commands+=("$server,$shape=cpu_us $server gets ${shape/x/ } ${address[$server]}")
  done
done
interleaved "${commands[@]}"

echo "idle connections" >&2
start_larder crowd memory "LARDER_LIMITS__MAX_CONNECTIONS=$((CONNECTIONS + 100))"
idle_before=$(rss_mb "${pid[crowd]}")
# Its standard input must stay open until the benchmark ends.
mkfifo "$work/end"
"$BASELINE" idle "${address[crowd]}" "$CONNECTIONS" >"$work/idle.out" <>"$work/end" &
pids+=($!)
until_true grep -q open "$work/idle.out"
idle_after=$(rss_mb "${pid[crowd]}")

echo "overload" >&2
start_larder bounded "unix://$redis_socket" LARDER_LIMITS__MAX_CONCURRENT_REQUESTS=256 \
  LARDER_LIMITS__MAX_STREAMS_PER_CONNECTION=1024
"$BASELINE" load "${address[bounded]}"
# served SERVER STREAMS: prints the served and the rejected requests per second. A rejected request
# has no value, so the bytes received give the number of served requests.
served() {
  local answered data
  read -r answered data < <(gets 8 "$2" "${address[$1]}")
  awk -v data="$data" -v answered="$answered" -v s="$SECONDS_EACH" \
    -v value="${value_bytes[$1]}" 'BEGIN {
      rejected = answered - data / value
      printf "%.0f %.0f\n", data / value / s, (rejected > 0 ? rejected : 0) / s
    }'
}
rejected() { served "$@" | cut -d ' ' -f 2; }
declare -A value_bytes
for server in bounded bare; do
  value_bytes[$server]=$(gets 1 1 "${address[$server]}" | awk '{ print $2 / $1 }')
done
interleaved "peak=served bounded 32" "goodput=served bounded 128" "crowd=served bounded 512" \
  "bare_peak=served bare 32" "bare_goodput=served bare 128"
shed=$(rejected bounded 128) crowd_shed=$(rejected bounded 512)

echo "keys" >&2
start_larder many memory LARDER_MEMORY__MAX_BYTES=16GiB
"$BASELINE" fill "${address[many]}" 1000
# spread KEYS: reads random ones of the first KEYS keys.
spread() { taskset -c 1 "$BASELINE" spread "${address[many]}" "$1" "$SECONDS_EACH"; }
few_keys=$(rounds_of cpu_us many spread 1000)
"$BASELINE" fill "${address[many]}" "$KEYS"
many_keys=$(rounds_of cpu_us many spread "$KEYS")
many_memory=$(rss_mb "${pid[many]}")

echo "watches" >&2
# writes SERVER: stores random ones of 1,000 keys.
writes() { taskset -c 1 "$BASELINE" writes "${address[$1]}" 1000 "$SECONDS_EACH"; }
for store in memory redis; do
  url=memory
  [[ $store == memory ]] || url="unix://$redis_socket"
  start_larder "unwatched_$store" "$url"
  start_larder "watched_$store" "$url"
  taskset -c 1 "$BASELINE" watch "${address[watched_$store]}" 100 >"$work/watch.$store" <>"$work/end" &
  pids+=($!)
  until_true grep -q ready "$work/watch.$store"
  interleaved "unwatched_$store=cpu_us unwatched_$store writes unwatched_$store" \
    "watched_$store=cpu_us watched_$store writes watched_$store"
done

echo "bans" >&2
# One server for each case, with a prefix of its own, and no sweep that would drop the bans. The
# embedded store moves an entry to the newest ban with the first read that checks it; on Redis each
# read of an older entry checks it.
readonly BANS=1000
p50_of() { taskset -c 1 "$BASELINE" p50 "${address[$1]}" "$2" "$SECONDS_EACH"; }
for store in memory redis; do
  url=memory
  [[ $store == memory ]] || url="unix://$redis_socket"
  for case in none current older; do
    start_larder "${case}_$store" "$url" "LARDER_STORE__PREFIX=$case" LARDER_STORE__SWEEP_RATE=0
    # A namespace without an entry has nothing to ban.
    "$BASELINE" tagged "${address[${case}_$store]}"
    [[ $case == none ]] || "$BASELINE" ban "${address[${case}_$store]}" "$BANS"
    [[ $case != current ]] || "$BASELINE" tagged "${address[${case}_$store]}"
    "$BASELINE" check "${address[${case}_$store]}"
  done
  interleaved "none_$store=cpu_us none_$store gets 8 32 ${address[none_$store]}" \
    "current_$store=cpu_us current_$store gets 8 32 ${address[current_$store]}" \
    "older_$store=cpu_us older_$store gets 8 32 ${address[older_$store]}"
done
start_larder banning "unix://$redis_socket" LARDER_STORE__PREFIX=banning LARDER_STORE__SWEEP_RATE=0
"$BASELINE" tagged "${address[banning]}"
interleaved "p50_set=p50_of banning Set" "p50_invalidate=p50_of banning Invalidate"

# goodput RESULT PEAK: the ratio of two results.
goodput() { ratio "${result[$1]}" "${result[$2]}"; }
twice_one_core=$(awk -v one="$one_core" 'BEGIN { print 2 * one }')

{
  echo "| | measured | target |"
  echo "|---|---|---|"
  row "near hits: CPU per request with one core / with two" "$one_core / $two_cores us"
  row "the same with a process for each of two cores" "${result[apart]} us"
  row "near hits that two cores have time for, over one" \
    "$(ratio "$twice_one_core" "$two_cores")" 1.7
  for shape in "${SHAPES[@]}"; do
    load="${shape%x*} connections of ${shape#*x} streams"
    row "near hits, $load: CPU per request (the bare server's)" \
      "${result[one,$shape]} us (${result[bare,$shape]} us)"
  done
  row "$CONNECTIONS idle connections: memory (RSS) before / with them" \
    "$idle_before / $idle_after MB" "300 MB"
  row "Get from Redis, limit of 256 at once: answers/s with 256 callers" "${result[peak]}"
  row "the same with 1,024 callers: answers/s (over the former) and sent away/s" \
    "${result[goodput]} ($(goodput goodput peak)), $shed" 0.9
  row "the same with 4,096 callers" "${result[crowd]} ($(goodput crowd peak)), $crowd_shed"
  row "the bare server, which has no limit, with 1,024 callers over 256" \
    "$(goodput bare_goodput bare_peak)"
  row "embedded, random keys of 1,000 / of $KEYS: CPU per request" \
    "$few_keys / $many_keys us ($(ratio "$many_keys" "$few_keys"))"
  for store in memory redis; do
    unwatched=${result[unwatched_$store]} watched=${result[watched_$store]}
    row "Set of random keys of 1,000 ($store): CPU without / with 100 streams of their changes" \
      "$unwatched / $watched us ($(ratio "$watched" "$unwatched"))" 1.1
  done
  for store in memory redis; do
    none=${result[none_$store]} current=${result[current_$store]} older=${result[older_$store]}
    row "Get ($store) in a namespace without bans / with $BANS, its entry is current: CPU" \
      "$none / $current us ($(ratio "$current" "$none"))" 1.1
    row "the same, the $BANS banned tags are newer than its entry" \
      "$older us ($(ratio "$older" "$none"))" 1.3
  done
  row "Redis, one call at a time: p50 of Set / of Invalidate of one tag" \
    "${result[p50_set]} / ${result[p50_invalidate]} us ($(ratio "${result[p50_invalidate]}" \
      "${result[p50_set]}"))" 3
  row "memory (RSS) with $KEYS entries of 100 B" "$many_memory MB"
} | tee "$OUT/limits.md"
