#!/usr/bin/env bash
# Measures what TLS, permissions, tokens and quotas cost, and writes a table to
# target/bench/security.md: CPU per near hit, CPU per handshake beside grpc-go, and the p99 of a
# caller while another one sends as much as it can.
#
# The server runs on core 0, the load and Redis run on core 1. The servers are measured alternately,
# round by round, and medians are compared. See docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/bench-lib.sh
source scripts/bench-lib.sh
readonly SECURE=target/bench/baseline/${BASELINE_PROFILE/#dev/debug}/secure
readonly HANDSHAKES=${HANDSHAKES:-2000} LATENCY_SECONDS=${LATENCY_SECONDS:-5}

build
start_redis 1
"$LARDER" certs --out "$work/certs" --host localhost --client bench=spiffe://dev/bench >/dev/null
(cd benches/grpc-go && go build -o "$work/grpc-go" .)

token() { printf 'a-token-of-the-benchmarks-for-%s' "$1"; }
digest() { token "$1" | sha256sum | cut -d' ' -f1; }

# config FILE QUOTA: callers `bench` (a certificate or a token), `calm` and `busy`, whose quota is
# QUOTA.
config() {
  cat >"$1" <<TOML
[namespaces.bench.near_cache]
max_staleness = "1s"
[tls]
cert = "$work/certs/server.crt"
key = "$work/certs/server.key"
client_ca = "$work/certs/ca.crt"
client_cert = "required"
[auth.principals.bench]
certificates = ["spiffe://dev/bench"]
tokens = ["sha256:$(digest bench)"]
roles = ["bench"]
[auth.principals.calm]
tokens = ["sha256:$(digest calm)"]
roles = ["bench"]
[auth.principals.busy]
tokens = ["sha256:$(digest busy)"]
roles = ["busy"]
[auth.roles.bench]
allow = [
  { verbs = ["read", "write"], namespaces = ["bench", "bench.*"] },
  { verbs = ["read"], namespaces = ["shop", "user"], keys = "public:" },
]
deny = [{ verbs = ["write"], namespaces = ["bench.prices"] }]
[auth.roles.busy]
allow = [{ verbs = ["read"], namespaces = ["bench"] }]
$2
TOML
}

redis="unix://$redis_socket"
config "$work/secure.toml" ""
config "$work/quota.toml" 'quota = { requests_per_second = 5000, in_flight = 32 }'
start_larder plain "$redis" LARDER_NAMESPACES__BENCH__NEAR_CACHE__MAX_STALENESS=1s
start_larder secure "$redis" LARDER_CONFIG="$work/secure.toml"
start_larder quota "$redis" LARDER_CONFIG="$work/quota.toml"
taskset -c 0 "$work/grpc-go" "$work/certs" >"$work/go.out" &
pid[go]=$! pids+=($!)
until_true test -s "$work/go.out"
address[go]=$(<"$work/go.out")
"$SECURE" store "${address[secure]}" "$work/certs" "$(token bench)"

# cpu ROW SERVER COMMAND...: one round. Appends the CPU of the server in microseconds per item that
# the command counts.
cpu() {
  local before after count
  before=$(cpu_ns "${pid[$2]}")
  count=$(taskset -c 1 "$SECURE" "${@:3}")
  after=$(cpu_ns "${pid[$2]}")
  awk -v n="$count" -v ns=$((after - before)) 'BEGIN { print ns / n / 1e3 }' >>"$work/$1.us"
}

us() { median <"$work/$1.us"; }

reads() { cpu "$1" "$2" reads "$SECONDS_EACH" 8 32 "${address[$2]}" "$3" "$4"; }

for _ in $(seq "$ROUNDS"); do
  reads plain plain - -
  reads mtls secure "$work/certs" -
  reads token secure "$work/certs" "$(token bench)"
done
for _ in 1 2 3 4 5; do
  cpu handshake secure handshakes $((HANDSHAKES / 5)) "${address[secure]}" "$work/certs"
  cpu handshake-go go handshakes $((HANDSHAKES / 5)) "${address[go]}" "$work/certs"
done

# p99 ROW SERVER: one round of a calm caller. Appends its p50 and p99.
latency() {
  taskset -c 1 "$SECURE" latency "$LATENCY_SECONDS" 200 "${address[$2]}" "$work/certs" \
    "$(token calm)" >"$work/latency"
  cut -d' ' -f1 "$work/latency" >>"$work/$1.p50.us"
  cut -d' ' -f2 "$work/latency" >>"$work/$1.p99.us"
}

# burst ROW SERVER: as latency, while `busy` sends as much as it can on 8 connections.
burst() {
  taskset -c 1 nice -n 19 "$SECURE" burst "$((LATENCY_SECONDS + 2))" 8 32 "${address[$2]}" \
    "$work/certs" "$(token busy)" >"$work/burst" &
  local busy=$!
  sleep 1
  latency "$1" "$2"
  wait "$busy"
}

for _ in 1 2 3 4 5; do
  latency alone quota
  burst limited quota
  burst unlimited secure
done

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
{
  echo '| near hit, 8 connections x 32 streams | server CPU per request | ratio | target |'
  echo '|---|---|---|---|'
  echo "| plain text | $(us plain) us | 1.00 | - |"
  echo "| mutual TLS, permissions by certificate | $(us mtls) us |" \
    "$(ratio "$(us mtls)" "$(us plain)") | 1.15 |"
  echo "| mutual TLS, permissions by token | $(us token) us |" \
    "$(ratio "$(us token)" "$(us plain)") | 1.05 of the row above:" \
    "$(ratio "$(us token)" "$(us mtls)") |"
  echo
  echo '| full handshake, mutual TLS | server CPU |'
  echo '|---|---|'
  echo "| Larder | $(us handshake) us |"
  echo "| grpc-go | $(us handshake-go) us |"
  echo
  echo '| a caller with 200 calls/s | p50 | p99 | p99, ratio | target |'
  echo '|---|---|---|---|---|'
  for row in alone limited unlimited; do
    echo "| $row | $(us "$row.p50") us | $(us "$row.p99") us |" \
      "$(ratio "$(us "$row.p99")" "$(us alone.p99)") | - |"
  done
} | tee "$OUT/security.md"
