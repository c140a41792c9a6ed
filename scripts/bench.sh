#!/usr/bin/env bash
# Compares Larder with a bare tonic server whose Get returns a constant, and writes a table to
# target/bench/table.md.
#
# The server runs on core 0, the load and Redis run on core 1. The servers are measured alternately,
# round by round, and medians are compared. See docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/bench-lib.sh
source scripts/bench-lib.sh
readonly STAMPEDE=target/bench/baseline/release/stampede ORIGIN_MS=50
readonly COLLECTOR=target/bench/baseline/release/collector

build

start_origin() {
  taskset -c 1 "$STAMPEDE" origin "$ORIGIN_MS" >"$work/origin.out" &
  pids+=($!)
  until_true test -s "$work/origin.out"
  origin=$(<"$work/origin.out")
}

start_etcd() {
  local port=$((20000 + RANDOM))
  taskset -c 0 etcd --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$port" \
    --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls http://127.0.0.1:0 \
    --log-level error >"$work/etcd.log" 2>&1 &
  pid[etcd]=$! pids+=($!)
  address[etcd]=127.0.0.1:$port
  # A PutRequest with key "k" and a value of 1 KiB, and a RangeRequest for it.
  printf '\0\0\0\4\6\012\1k\022\200\010%s' "$(printf 'v%.0s' {1..1024})" >"$work/Put.frame"
  printf '\0\0\0\0\3\012\1k' >"$work/Range.frame"
  until_true put_into_etcd
}

put_into_etcd() {
  h2load -n 1 -d "$work/Put.frame" -H 'content-type: application/grpc' -H 'te: trailers' \
    "http://${address[etcd]}/etcdserverpb.KV/Put" | grep -q ' 1 succeeded'
}

path_of() {
  case $1 in
    Range) echo /etcdserverpb.KV/Range ;;
    ReadThrough) echo "$PATH_PREFIX/GetOrFetch" ;;
    *) echo "$PATH_PREFIX/$1" ;;
  esac
}

# latencies SERVER: one round of Gets, one call at a time on one connection. Appends p50, p99, p99.9
# and CPU per request, in microseconds.
latencies() {
  local before after
  before=$(cpu_ns "${pid[$1]}")
  taskset -c 1 h2load -c 1 -m 1 -t 1 -n 8000 -d "$work/Get.frame" --log-file "$work/latency.log" \
    -H 'content-type: application/grpc' -H 'te: trailers' \
    "http://${address[$1]}$PATH_PREFIX/Get" >/dev/null
  after=$(cpu_ns "${pid[$1]}")
  # The first 1,000 calls warm up.
  tail -n +1001 "$work/latency.log" | cut -f 3 | sort -n |
    awk -v ns=$((after - before)) '{ v[NR] = $1 }
      END { print v[int(NR * 0.5)], v[int(NR * 0.99)], v[int(NR * 0.999)], ns / 8000000 }' \
      >>"$work/$1.latencies"
  rm "$work/latency.log"
}

# direct_latencies: one round of GETs by redis-benchmark.
direct_latencies() {
  taskset -c 1 redis-benchmark -p "$direct_port" -t set,get -d 1024 -c 1 -n 8000 --csv |
    awk -F '"' '$2 == "GET" { print $10 * 1000, $14 * 1000 }' >>"$work/direct.latencies"
}

# latency NAME COLUMN: prints the median of the rounds.
latency() { cut -d ' ' -f "$2" "$work/$1.latencies" | median; }

# measure ROW SERVER RPC: one round. Appends requests per second and CPU microseconds per request.
measure() {
  local row=$1 server=$2 rpc=$3 before after done_requests data least=1024
  case $rpc in
    Set) least=10 ;;
    BatchGet) least=10000 ;;
  esac
  before=$(cpu_ns "${pid[$server]}")
  taskset -c 1 h2load -c 8 -m 32 -t 1 -D "$SECONDS_EACH" --warm-up-time 0 -d "$work/$rpc.frame" \
    -H 'content-type: application/grpc' -H 'te: trailers' \
    "http://${address[$server]}$(path_of "$rpc")" >"$work/h2load.out"
  after=$(cpu_ns "${pid[$server]}")
  done_requests=$(sed -nE 's/^requests: .* ([0-9]+) succeeded, 0 failed.*/\1/p' "$work/h2load.out")
  [[ -n $done_requests && $done_requests -gt 0 ]] ||
    fail "requests failed: $(grep ^requests "$work/h2load.out")"
  # A gRPC error counts as success in h2load, but has no message.
  data=$(sed -nE 's/^traffic: .* \(([0-9]+)\) data$/\1/p' "$work/h2load.out")
  ((data / done_requests >= least)) || fail "$row: answers of $((data / done_requests)) bytes"
  awk -v n="$done_requests" -v s="$SECONDS_EACH" 'BEGIN { print n / s }' >>"$work/$row.rps"
  awk -v n="$done_requests" -v ns=$((after - before)) 'BEGIN { print ns / n / 1000 }' \
    >>"$work/$row.cpu"
}

# start_ms STORE: prints the time from process start to SERVING, median of 10.
start_ms() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    local began ended process log="$work/start.log"
    : >"$log"
    began=$(date +%s%N)
    LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_STORE=$1 \
      LARDER_LOG__FORMAT=json "$LARDER" 2>"$log" &
    process=$!
    until_true grep -q '"message":"serving"' "$log"
    "$LARDER" healthcheck >/dev/null \
      --address "$(sed -nE 's/.*"listen":"([^"]+)".*/\1/p' "$log")"
    ended=$(date +%s%N)
    kill "$process"
    wait "$process" || true
    echo $(((ended - began) / 1000000))
  done | median
}

# redis-benchmark is compared with the servers, so its Redis runs on their core.
start_redis 0
direct_port=$redis_port
start_redis 1
start_baseline
start_origin
start_etcd
with_origin=("LARDER_NAMESPACES__THROUGH__ORIGIN__URL=http://$origin/{key}"
  "LARDER_NAMESPACES__STAMPEDE__ORIGIN__URL=http://$origin/{key}"
  "LARDER_NAMESPACES__STAMPEDE__ORIGIN__TIMEOUT=30s"
  "LARDER_NAMESPACES__STAMPEDE__ORIGIN__MAX_QUEUE=10000"
  "LARDER_LIMITS__MAX_WAITING=20000"
  "LARDER_LIMITS__MAX_CONCURRENT_REQUESTS=20000")
start_larder memory memory "${with_origin[@]}"
start_larder redis "unix://$redis_socket"
start_larder near "unix://$redis_socket" LARDER_NAMESPACES__BENCH__NEAR_CACHE__MAX_STALENESS=1s
taskset -c 1 "$COLLECTOR" >"$work/collector.out" &
collector=$!
pids+=("$collector")
until_true test -s "$work/collector.out"
observed=("LARDER_TELEMETRY__OTLP_ENDPOINT=http://$(<"$work/collector.out")"
  LARDER_TELEMETRY__SAMPLE_RATIO=0.01 LARDER_TELEMETRY__METRIC_INTERVAL=10s)
unobserved=(LARDER_TELEMETRY__METRICS=false)
start_larder observed memory "${observed[@]}"
start_larder unobserved memory "${unobserved[@]}"

# The cost of a program differs by a few percent between starts, because its memory layout differs.
# Telemetry costs about as much, so both of its servers restart for each round.
# restart NAME [VARIABLE=VALUE...]
restart() {
  kill "${pid[$1]}"
  wait "${pid[$1]}"
  rm "$work/$1.log"
  start_larder "$1" memory "${@:2}"
  "$BASELINE" load "${address[$1]}"
}

# Memory of the idle servers, after two seconds without requests.
read -rt 2 <> <(:) || true
idle_memory=$(rss_mb "${pid[memory]}") idle_redis=$(rss_mb "${pid[redis]}")

for rpc in Get GetOrFetch ReadThrough BatchGet Set; do
  "$BASELINE" frame "$work/$rpc.frame" "$rpc"
done
for server in memory redis near observed unobserved; do "$BASELINE" load "${address[$server]}"; done
# h2load counts a gRPC error as success, so the responses are checked first.
for server in bare memory redis near observed unobserved; do
  "$BASELINE" check "${address[$server]}"
done

rows=(
  "bare bare Get"
  "memory-get memory Get"
  "memory-fetch memory GetOrFetch"
  "memory-through memory ReadThrough"
  "memory-set memory Set"
  "memory-batch memory BatchGet"
  "near-get near Get"
  "near-fetch near GetOrFetch"
  "near-batch near BatchGet"
  "redis-get redis Get"
  "redis-batch redis BatchGet"
  "redis-set redis Set"
  "etcd etcd Range"
)
for round in $(seq 0 "$ROUNDS"); do
  echo "round $round of $ROUNDS" >&2
  restart observed "${observed[@]}"
  restart unobserved "${unobserved[@]}"
  for row in "${rows[@]}"; do
    read -r name server rpc <<<"$row"
    measure "$name" "$server" "$rpc"
  done
  # Each of the two is first in one pair.
  for server in unobserved observed observed unobserved; do measure "$server" "$server" Get; done
  # The first round warms up.
  if ((round == 0)); then rm "$work"/*.rps "$work"/*.cpu; fi
done
for server in memory redis near observed unobserved; do
  "$BASELINE" check "${address[$server]}"
done
# The measurement counts only if telemetry was really sent.
kill "$collector"
wait "$collector"
read -r spans pushes < <(tail -n 1 "$work/collector.out")
((spans > 1000 && pushes > 0)) ||
  fail "the collector received $spans spans and $pushes exports of metrics"

bare_rps=$(median <"$work/bare.rps") bare_cpu=$(median <"$work/bare.cpu")

# table_row NAME TITLE TARGET
table_row() {
  awk -v title="$2" -v rps="$(median <"$work/$1.rps")" -v cpu="$(median <"$work/$1.cpu")" \
    -v bare="$bare_rps" -v bare_cpu="$bare_cpu" -v target="$3" 'BEGIN {
      ratio = rps / bare
      verdict = target == "-" ? "" : (ratio >= target ? " (reached)" : " (below)")
      printf "| %s | %.0f | %.2f | %.1f us |", title, rps, ratio, cpu
      printf " %.2f | %s%s |\n", cpu / bare_cpu, target, verdict
    }'
}

# over NAME OTHER METRIC: prints the median ratio of two servers measured one after the other.
over() { paste "$work/$1.$3" "$work/$2.$3" | awk '{ print $1 / $2 }' | median; }

# batch_row NAME TITLE TARGET
batch_row() {
  awk -v title="$2" -v rps="$(median <"$work/$1.rps")" -v bare="$bare_rps" -v target="$3" 'BEGIN {
      ratio = rps * 100 / bare
      verdict = target == "-" ? "" : (ratio >= target ? " (reached)" : " (below)")
      printf "| %s | %.0f | %.0f | %.1f | %s%s |\n", title, rps, rps * 100, ratio, target, verdict
    }'
}

# Servers that poll busily are stopped while others are measured.
busy_poll=LARDER_BUSY_POLL=100us
start_larder near-polled "unix://$redis_socket" \
  LARDER_NAMESPACES__BENCH__NEAR_CACHE__MAX_STALENESS=1s "$busy_poll"
start_larder memory-polled memory "$busy_poll"
start_larder redis-tcp "redis://127.0.0.1:$redis_port"
start_larder redis-polled "redis://127.0.0.1:$redis_port" "$busy_poll"
for server in near-polled memory-polled redis-tcp redis-polled; do
  "$BASELINE" load "${address[$server]}"
  "$BASELINE" check "${address[$server]}"
done
polled=("${pid[near-polled]}" "${pid[memory-polled]}" "${pid[redis-polled]}")
kill -STOP "${polled[@]}"

echo "latencies" >&2
for _ in $(seq "$ROUNDS"); do
  direct_latencies
  for server in bare near near-polled memory memory-polled redis redis-tcp redis-polled; do
    if [[ $server == *-polled ]]; then kill -CONT "${pid[$server]}"; fi
    latencies "$server"
    if [[ $server == *-polled ]]; then kill -STOP "${pid[$server]}"; fi
  done
done
kill -KILL "${polled[@]}"
wait "${polled[@]}" 2>/dev/null || true

# latency_row SERVER TITLE TARGET
latency_row() {
  awk -v title="$2" -v p50="$(latency "$1" 1)" -v p99="$(latency "$1" 2)" \
    -v p999="$(latency "$1" 3)" -v cpu="$(latency "$1" 4)" \
    -v direct="$direct_p50" -v target="$3" 'BEGIN {
      ratio = p50 / direct
      verdict = target == "-" ? "" : (ratio <= target ? " (reached)" : " (above)")
      printf "| Get, %s | %.0f us | %.0f us | %.0f us |", title, p50, p99, p999
      printf " %.0f us | %.2f | %s%s |\n", cpu, ratio, target, verdict
    }'
}

echo "stampedes" >&2
for replica in one two three; do
  start_larder "$replica" "unix://$redis_socket" "${with_origin[@]}"
done
read -r crowd_calls crowd_p50 crowd_p99 crowd_max <<<"$(taskset -c 1 "$STAMPEDE" crowd 1000 20 \
  "$origin" "$ORIGIN_MS" "${address[one]}" "${address[two]}" "${address[three]}")"
cold_before=$(rss_mb "${pid[memory]}")
read -r cold_found cold_rejected cold_seconds cold_most <<<"$(taskset -c 1 "$STAMPEDE" cold 10000 \
  "$origin" "${address[memory]}")"
cold_peak=$(awk '/^VmHWM/ { printf "%.1f", $2 / 1024 }' "/proc/${pid[memory]}/status")
[[ -n $crowd_max && -n $cold_most ]] || fail "the stampedes did not end well"

{
  echo "| 1 KiB, 8 connections x 32 streams | requests/s | ratio |" \
    "server CPU per request | ratio | target |"
  echo "|---|---|---|---|---|---|"
  table_row bare "bare tonic, constant" "-"
  table_row near-get "Get hit, near cache" 1.7
  table_row near-fetch "GetOrFetch hit, near cache" "-"
  table_row memory-get "Get hit, embedded" 1.6
  table_row memory-fetch "GetOrFetch hit, embedded" "-"
  table_row memory-through "GetOrFetch hit, embedded, fetched from an origin" "-"
  table_row memory-set "Set, embedded" "-"
  table_row redis-get "Get hit, Redis" 1.0
  table_row redis-set "Set, Redis" 0.7
  table_row etcd "etcd, Range" "-"
  awk -v throughput="$(over observed unobserved rps)" \
    -v cpu="$(over observed unobserved cpu)" 'BEGIN {
      printf "\nTelemetry on (metrics, 1 %% of traces, pushed) over off: "
      printf "%.2f of the requests/s, %.2f of the CPU (target 0.93).\n", throughput, cpu
    }'
  echo
  echo "| BatchGet of 100 values of 100 B | calls/s | keys/s |" \
    "keys/s over the bare server's calls/s | target |"
  echo "|---|---|---|---|---|"
  batch_row near-batch "near cache" 24
  batch_row memory-batch "embedded" 24
  batch_row redis-batch "Redis" "-"
  echo
  echo "| one call at a time, 1 KiB | p50 | p99 | p99.9 | server CPU per request |" \
    "p50 over redis-benchmark | target |"
  echo "|---|---|---|---|---|---|---|"
  direct_p50=$(latency direct 1)
  echo "| redis-benchmark, GET | $direct_p50 us | $(latency direct 2) us | | | 1.0 | |"
  latency_row bare "bare tonic" -
  latency_row near "near cache" 1.4
  latency_row near-polled "near cache, busy_poll" 1.4
  latency_row memory "embedded" -
  latency_row memory-polled "embedded, busy_poll" -
  latency_row redis "Redis by unix socket" 2.5
  latency_row redis-tcp "Redis by TCP" -
  latency_row redis-polled "Redis by TCP, busy_poll" 2.5
  echo
  echo "| an origin that takes $ORIGIN_MS ms | |"
  echo "|---|---|"
  echo "| 1,000 callers on one cold key over 3 replicas: requests to the origin | $crowd_calls |"
  echo "| their time over the origin's own, p50 / p99 / longest |" \
    "$crowd_p50 / $crowd_p99 / $crowd_max ms |"
  echo "| 10,000 cold keys at once on one replica: answered with the value / sent away |" \
    "$cold_found / $cold_rejected |"
  echo "| seconds for all of them; most requests to the origin at once (limit 64) |" \
    "$cold_seconds s; $cold_most |"
  echo "| memory (RSS) before / at its peak | $cold_before / $cold_peak MB |"
  echo
  echo "| | measured | target |"
  echo "|---|---|---|"
  echo "| idle memory (RSS), embedded | $idle_memory MB | 20 MB |"
  echo "| idle memory (RSS), Redis | $idle_redis MB | 20 MB |"
  echo "| start to SERVING, embedded | $(start_ms memory) ms | 200 ms |"
  echo "| start to SERVING, Redis | $(start_ms "unix://$redis_socket") ms | 200 ms |"
} | tee "$OUT/table.md"
