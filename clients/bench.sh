#!/usr/bin/env bash
# Measures the client libraries beside bare stubs on the same server, and beside the usual clients of
# Redis on the same Redis. The shares are what counts: each pair runs in turns on the same machine.
#
#   clients/bench.sh [SECONDS]   seconds per measurement (1 by default)
set -euo pipefail

clients=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname -- "$clients")
export LARDER_BIN=${LARDER_BIN:-$repository/target/release/larder}
[[ -x $LARDER_BIN ]] || {
    echo "$LARDER_BIN not found: run \`cargo build --release\`" >&2
    exit 2
}
seconds=${1:-1}

"$clients/test.sh" --setup
python=$repository/target/clients/python-venv/bin/python
echo "=== Python, beside bare stubs"
"$python" "$clients/python/bench/bench.py" "$seconds"
echo "=== Python, beside redis-py"
"$python" "$clients/python/bench/redis_clients.py" "$seconds"
echo "=== Node, beside bare stubs"
(cd "$clients/node" && npm run --silent bench -- "$seconds")
echo "=== Node, beside ioredis"
(cd "$clients/node" && node bench/redis-clients.mjs "$seconds")
echo "=== Go, beside bare stubs, hits of the near cache, and beside go-redis"
(cd "$clients/go/bench" && go run . "$seconds")
echo "=== Java, beside bare stubs, hits of the near cache, and beside Lettuce"
"$clients/java/bench/run.sh" "$seconds"
echo "=== Rust, hits of the near cache"
example() {
    local name=$1
    shift
    (cd "$clients/rust" && cargo run --quiet --release --features testing --example "$name" "$@")
}
example near_hits
echo "=== Rust, beside bare stubs and redis-rs"
example compare -- "$seconds"
