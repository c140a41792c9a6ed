#!/usr/bin/env bash
# Measures what the dashboard costs while ten browsers show it, and the time of `larder top`, Stats
# and pages over 200 namespaces, and writes a table to target/bench/dashboard.md. See
# docs/benchmarks.md. scripts/instructions.sh counts the instructions of a near hit meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/bench-lib.sh
source scripts/bench-lib.sh
readonly VIEWERS=10 NAMESPACES=200 IDLE_SECONDS=${IDLE_SECONDS:-30}

build
start_redis 1
"$BASELINE" frame "$work/Get.frame" Get
near=LARDER_NAMESPACES__BENCH__NEAR_CACHE__MAX_STALENESS=1h
for server in quiet viewed; do
  start_larder "$server" "unix://$redis_socket" "$near" "LARDER_STORE__PREFIX=$server" \
    LARDER_TELEMETRY__MAX_NAMESPACES=1000
  "$BASELINE" load "${address[$server]}"
done
admin=$(sed -nE 's/.*"admin_listen":"([^"]+)".*/\1/p' "$work/viewed.log")

open_viewers() {
  local viewer
  for ((viewer = 0; viewer < VIEWERS; viewer++)); do
    curl --silent --no-buffer "http://$admin/live?page=overview" >"$work/viewer-$viewer" &
    pids+=($!)
    until_true grep -q '^data:' "$work/viewer-$viewer"
  done
}

# cpu_us SERVER: the CPU time of a near hit.
cpu_us() {
  local before after answered
  before=$(cpu_ns "${pid[$1]}")
  read -r answered _ < <(load 8 32 Get "$PATH_PREFIX/Get" "${address[$1]}" 1)
  after=$(cpu_ns "${pid[$1]}")
  awk -v n="$answered" -v ns=$((after - before)) 'BEGIN { printf "%.3f\n", ns / n / 1000 }'
}

# idle_share SERVER: the part of a core that it uses without requests, in percent.
idle_share() {
  local before
  before=$(cpu_ns "${pid[$1]}")
  sleep "$IDLE_SECONDS"
  awk -v ns=$(($(cpu_ns "${pid[$1]}") - before)) -v s="$IDLE_SECONDS" \
    'BEGIN { printf "%.2f\n", ns / s / 1e7 }'
}

# milliseconds COMMAND...: the time of a command, as a caller sees it.
milliseconds() {
  local begin=${EPOCHREALTIME/./}
  "$@" >/dev/null
  awk -v us=$((${EPOCHREALTIME/./} - begin)) 'BEGIN { printf "%.1f\n", us / 1000 }'
}

rounds_of() { for _ in $(seq "$ROUNDS"); do "$@"; done | median; }

# row TITLE VALUE [TARGET]
row() { printf '| %s | %s | %s |\n' "$1" "$2" "${3:-}"; }

open_viewers
echo "near hits" >&2
for _ in $(seq "$ROUNDS"); do
  cpu_us quiet >>"$work/quiet"
  cpu_us viewed >>"$work/viewed"
done
quiet=$(median <"$work/quiet") viewed=$(median <"$work/viewed")
echo "without requests" >&2
idle_quiet=$(idle_share quiet) idle_viewed=$(idle_share viewed)

echo "$NAMESPACES namespaces" >&2
for ((number = 0; number < NAMESPACES; number++)); do
  "$LARDER" set "namespace-$number" key value --address "${address[viewed]}" >/dev/null
  "$LARDER" get "namespace-$number" key --address "${address[viewed]}" >/dev/null
done
top=(env LARDER_ADDRESS="${address[viewed]}" "$LARDER" top --once)
stats=(env LARDER_ADDRESS="${address[viewed]}" "$LARDER" stats)
count=$("${stats[@]}" --json | grep -o '"namespace-[0-9]*"' | sort -u | wc -l)
((count >= NAMESPACES)) || fail "Stats has $count namespaces"

{
  echo "| | measured | target |"
  echo "|---|---|---|"
  row "CPU of a near hit, no dashboard open" "$quiet µs"
  row "CPU of a near hit, ten open" "$viewed µs" "within 1 %"
  row "CPU without requests, no dashboard open" "$idle_quiet % of a core"
  row "CPU without requests, ten open" "$idle_viewed % of a core"
  row "\`larder top --once\`, $NAMESPACES namespaces" "$(rounds_of milliseconds "${top[@]}") ms" \
    "50 ms"
  row "\`larder stats\`, $NAMESPACES namespaces" "$(rounds_of milliseconds "${stats[@]}") ms" \
    "50 ms"
  for path in / /namespaces /analysis /replicas; do
    row "the page \`$path\`, $NAMESPACES namespaces" \
      "$(rounds_of milliseconds curl --silent --fail "http://$admin$path") ms" "100 ms"
  done
} | tee "$OUT/dashboard.md"
