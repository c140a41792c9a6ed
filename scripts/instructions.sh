#!/usr/bin/env bash
# Counts the instructions that requests cost, under callgrind, and fails if one costs more than benches/instructions.txt allows.
#
#   scripts/instructions.sh           compares
#   scripts/instructions.sh --write   writes down what is measured
#
# Instructions do not depend on how busy a machine is. What they count is one call at a time on one connection, so nothing is
# shared between requests: the difference of two runs of different length, over the requests that one has more.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly FEW=500 MANY=2500
# Other compilers and libraries count a little differently.
readonly TOLERANCE=1.10
readonly ALLOWED=benches/instructions.txt
# shellcheck source=scripts/bench-lib.sh
source scripts/bench-lib.sh

build
start_redis 1
near=LARDER_NAMESPACES__BENCH__NEAR_CACHE__MAX_STALENESS=1h
for rpc in Get GetOrFetch BatchGet Set; do "$BASELINE" frame "$work/$rpc.frame" "$rpc"; done

# instructions STORE RPC REQUESTS: of a server that answered so many.
instructions() {
  local log="$work/callgrind.log" process listen
  : >"$log"
  # Background work by the clock would count for more in a longer run.
  env LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_STORE="$1" LARDER_LOG__FORMAT=json \
    LARDER_STATS__FLUSH_INTERVAL=1m LARDER_STORE__TIMEOUT=10s TOKIO_WORKER_THREADS=1 "${@:4}" \
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/callgrind.out" "$LARDER" 2>"$log" &
  process=$!
  pids+=("$process")
  until_true grep -q '"message":"serving"' "$log"
  listen=$(sed -nE 's/.*"listen":"([^"]+)".*/\1/p' "$log")
  "$BASELINE" load "$listen"
  # What is read for the first time is not yet near.
  h2load -c 1 -m 1 -n "$((100 + $3))" -d "$work/$2.frame" -H 'content-type: application/grpc' -H 'te: trailers' \
    "http://$listen$PATH_PREFIX/$2" | grep -q " $((100 + $3)) succeeded, 0 failed" || fail "requests failed"
  kill "$process"
  wait "$process" || true
  sed -nE 's/^(totals|summary): ([0-9]+).*/\2/p' "$work/callgrind.out" | head -n 1
}

# per_request STORE RPC [VARIABLE=VALUE...]
per_request() {
  local few many
  few=$(instructions "$1" "$2" "$FEW" "${@:3}")
  many=$(instructions "$1" "$2" "$MANY" "${@:3}")
  echo $(((many - few) / (MANY - FEW)))
}

redis="unix://$redis_socket"
measured="$work/instructions.txt"
{
  echo "Get,embedded $(per_request memory Get)"
  echo "GetOrFetch,embedded $(per_request memory GetOrFetch)"
  echo "Set,embedded $(per_request memory Set)"
  echo "BatchGet,embedded $(per_request memory BatchGet)"
  echo "Get,near $(per_request "$redis" Get "$near")"
  echo "Get,Redis $(per_request "$redis" Get)"
  echo "Set,Redis $(per_request "$redis" Set)"
} >"$measured"

if [[ ${1:-} == --write ]]; then
  cp "$measured" "$ALLOWED"
  cat "$ALLOWED"
  exit
fi
awk -v tolerance="$TOLERANCE" '
  NR == FNR { allowed[$1] = $2; next }
  {
    ratio = $2 / allowed[$1]
    printf "%-22s %8d instructions, %.2f of what is written down\n", $1, $2, ratio
    if (!(ratio <= tolerance)) failed = 1
  }
  END { if (failed) { print "a request costs too much: see " FILENAME > "/dev/stderr"; exit 1 } }' "$ALLOWED" "$measured"
