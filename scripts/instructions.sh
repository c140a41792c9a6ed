#!/usr/bin/env bash
# Counts the instructions and allocations per request under callgrind, and fails if a request costs
# more than benches/instructions.txt allows.
#
#   scripts/instructions.sh           compares
#   scripts/instructions.sh --write   updates benches/instructions.txt
#   scripts/instructions.sh --build   only builds what is measured
#
# Instruction counts do not depend on the load of the machine. Each is the difference of two runs of
# different length, divided by the difference in requests. The client sends one call at a time on
# one connection, so that no work is shared between requests.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $(uname) != Linux ]]; then
  echo "instructions are only counted on Linux" >&2
  exit
fi

readonly FEW=500 MANY=2500
# With Redis, single events in the background count as well. More requests make their share smaller.
readonly MANY_WITH_REDIS=6500
# Counts differ slightly between versions of the compiler and of the C library.
readonly TOLERANCE=1.10
readonly ALLOWED=benches/instructions.txt
# Built sooner than a release, and close to it.
PROFILE=${PROFILE:-counted}
# The baseline only sends requests.
BASELINE_PROFILE=dev
# shellcheck source=scripts/bench-lib.sh
source scripts/bench-lib.sh

build
if [[ ${1:-} == --build ]]; then exit; fi
start_redis 0
near=LARDER_NAMESPACES__BENCH__NEAR_CACHE__MAX_STALENESS=1h
for rpc in Get GetOrFetch BatchGet Set; do "$BASELINE" frame "$work/$rpc.frame" "$rpc"; done

# view NUMBER ADDRESS: opens the dashboard in several browsers, until the server ends. Their figures
# are sent once, and then after a minute.
view() {
  local viewer
  for ((viewer = 0; viewer < $1; viewer++)); do
    : >"$work/viewer-$viewer"
    curl --silent --no-buffer "http://$2/live?page=overview&span=7d" >"$work/viewer-$viewer" &
    pids+=($!)
    until_true grep -q '^data:' "$work/viewer-$viewer"
  done
}

# count STORE RPC REQUESTS: prints the instructions and allocations of a server.
count() {
  local log="$work/callgrind.log" process listen
  : >"$log"
  # Periodic background work would count more in the longer run, so the flush interval is long.
  env LARDER_LISTEN=127.0.0.1:0 LARDER_ADMIN_LISTEN=127.0.0.1:0 LARDER_STORE="$1" \
    LARDER_LOG__FORMAT=json LARDER_STATS__FLUSH_INTERVAL=1m LARDER_STORE__TIMEOUT=10s \
    TOKIO_WORKER_THREADS=1 "${@:4}" \
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/callgrind.out" \
    "$LARDER" 2>"$log" &
  process=$!
  pids+=("$process")
  until_true grep -q '"message":"serving"' "$log"
  listen=$(sed -nE 's/.*"listen":"([^"]+)".*/\1/p' "$log")
  # The store may not be available yet.
  until_true "$BASELINE" load "$listen"
  view "${VIEWERS:-0}" "$(sed -nE 's/.*"admin_listen":"([^"]+)".*/\1/p' "$log")"
  # 100 more in both runs: the first read of a key is not served from the near cache.
  h2load -c 1 -m 1 -n "$((100 + $3))" -d "$work/$2.frame" \
    -H 'content-type: application/grpc' -H 'te: trailers' "http://$listen$PATH_PREFIX/$2" |
    grep -q " $((100 + $3)) succeeded, 0 failed" || fail "requests failed"
  kill "$process"
  wait "$process" || true
  # callgrind writes the name of a function once, and then refers to it by number.
  awk '
    /^c?fn=/ {
      match($0, /\([0-9]+\)/)
      id = substr($0, RSTART, RLENGTH)
      if (length($0) >= RSTART + RLENGTH) name[id] = substr($0, RSTART + RLENGTH + 1)
      called = name[id]
    }
    /^calls=/ && called ~ /^mi_(malloc|zalloc|realloc)_aligned$/ {
      split($1, calls, "=")
      allocations += calls[2]
    }
    /^(totals|summary):/ { instructions = $2 }
    END { print instructions, allocations }' "$work/callgrind.out"
}

# per_request STORE RPC [VARIABLE=VALUE...]
per_request() {
  local many=$MANY
  if [[ $1 != memory ]]; then many=$MANY_WITH_REDIS; fi
  { count "$1" "$2" "$FEW" "${@:3}" && count "$1" "$2" "$many" "${@:3}"; } |
    awk -v requests=$((many - FEW)) '
      NR == 1 { instructions = $1; allocations = $2 }
      NR == 2 {
        printf "%.0f %.1f\n", ($1 - instructions) / requests, ($2 - allocations) / requests
      }'
}

redis="unix://$redis_socket"
measured="$work/instructions.txt"
{
  echo "Get,embedded $(per_request memory Get)"
  echo "GetOrFetch,embedded $(per_request memory GetOrFetch)"
  echo "Set,embedded $(per_request memory Set)"
  echo "BatchGet,embedded $(per_request memory BatchGet)"
  echo "Get,near $(per_request "$redis" Get "$near")"
  echo "Get,near,10-viewers $(VIEWERS=10 per_request "$redis" Get "$near")"
  echo "Get,Redis $(per_request "$redis" Get)"
  echo "Set,Redis $(per_request "$redis" Set)"
} >"$measured"

if [[ ${1:-} == --write ]]; then
  awk 'NF != 3 || !($2 > 0) || !($3 > 0) { exit 1 }' "$measured" || fail "a measurement is missing"
  cp "$measured" "$ALLOWED"
  cat "$ALLOWED"
  exit
fi
awk -v tolerance="$TOLERANCE" '
  NR == FNR { instructions[$1] = $2; allocations[$1] = $3; next }
  {
    ratio = $2 / instructions[$1]
    printf "%-22s %8d instructions (%.2f of the reference),", $1, $2, ratio
    printf " %6.1f allocations (%.2f)\n", $3, $3 / allocations[$1]
    # A missing measurement is a failure.
    if (NF != 3 || !($2 > 0) || !($3 > 0)) failed = 1
    if (!(ratio <= tolerance) || !($3 / allocations[$1] <= tolerance)) failed = 1
  }
  END {
    if (failed) { print "a request costs too much: see benches/instructions.txt" > "/dev/stderr" }
    exit failed
  }' "$ALLOWED" "$measured"
