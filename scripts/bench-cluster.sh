#!/usr/bin/env bash
# Compares Larder on a Redis Cluster of three primaries with Larder on one Redis, per CPU of Larder,
# and writes a table to target/bench/cluster.md: Get of 1 KiB, and BatchGet of 100 over three
# primaries. Both reach Redis over TCP.
#
# Larder runs on core 0, the load and all Redis servers run on core 1. The servers are measured
# alternately, round by round, and medians are compared. See docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/bench-lib.sh
source scripts/bench-lib.sh

# start_node: starts a node of a cluster on core 1, and adds its address to $nodes.
nodes=()
start_node() {
  local tries=0 port
  until port=$((20000 + RANDOM % 20000)) && start_node_on "$port"; do
    ((++tries < 10)) || fail "redis-server found no free port"
  done
  nodes+=("127.0.0.1:$port")
}

start_node_on() {
  mkdir -p "$work/node-$1"
  taskset -c 1 redis-server --port "$1" --bind 127.0.0.1 --dir "$work/node-$1" \
    --cluster-enabled yes --save "" --appendonly no --daemonize no >"$work/node-$1.log" &
  pids+=($!)
  until_true redis-cli -p "$1" ping
}

# is_ok PORT: whether a node of the cluster has heard of all slots. Before, it answers CLUSTERDOWN.
is_ok() { redis-cli -p "$1" cluster info | grep -q '^cluster_state:ok'; }

# measure ROW SERVER RPC LEAST: one round. Appends the calls per second of CPU of the server.
measure() {
  local before after done_requests data
  before=$(cpu_ns "${pid[$2]}")
  read -r done_requests data < <(load 8 32 "$3" "$PATH_PREFIX/$3" "${address[$2]}" 1)
  after=$(cpu_ns "${pid[$2]}")
  ((data / done_requests >= $4)) || fail "$1: answers of $((data / done_requests)) bytes"
  awk -v n="$done_requests" -v ns=$((after - before)) 'BEGIN { print n / ns * 1e9 }' \
    >>"$work/$1.rate"
}

rate() { median <"$work/$1.rate"; }

build
start_redis 1
for _ in 1 2 3; do start_node; done
redis-cli --cluster create "${nodes[@]}" --cluster-yes >"$work/create.log" ||
  fail "no cluster: $(tail -n 1 "$work/create.log")"
for node in "${nodes[@]}"; do until_true is_ok "${node##*:}"; done
cluster_url="redis-cluster://$(IFS=,; echo "${nodes[*]}")"

start_larder one "redis://127.0.0.1:$redis_port"
start_larder cluster "$cluster_url"
# With fewer shards, a batch is in fewer slots. Replicas with another number need a prefix of theirs.
start_larder few "$cluster_url" LARDER_STORE__SHARDS=6 LARDER_STORE__PREFIX=few
for server in one cluster few; do
  until_true grep -q '"message":"the store is available"' "$work/$server.log"
  "$BASELINE" load "${address[$server]}"
done
for rpc in Get BatchGet; do "$BASELINE" frame "$work/$rpc.frame" "$rpc"; done
# h2load counts a gRPC error as success, so the responses are checked first.
for server in one cluster few; do "$BASELINE" check "${address[$server]}"; done

for ((round = 1; round <= ROUNDS; round++)); do
  for row in "Get 1024" "BatchGet 10000"; do
    read -r rpc least <<<"$row"
    for server in one cluster few; do measure "$server-$rpc" "$server" "$rpc" "$least"; done
  done
  echo "round $round of $ROUNDS" >&2
done

{
  echo "| call | one Redis, calls per second of CPU | three primaries | ratio |" \
    "with 6 shards | ratio |"
  echo "|---|---|---|---|---|---|"
  for rpc in Get BatchGet; do
    awk -v rpc="$rpc" -v one="$(rate "one-$rpc")" -v cluster="$(rate "cluster-$rpc")" \
      -v few="$(rate "few-$rpc")" \
      'BEGIN { printf "| %s | %.0f | %.0f | %.2f | %.0f | %.2f |\n", rpc, one, cluster,
        cluster / one, few, few / one }'
  done
} | tee "$OUT/cluster.md"
