#!/usr/bin/env bash
# Measures the Java client beside bare stubs on the same server, and beside Lettuce on the same
# Redis. The shares are what counts: each pair runs in turns on the same machine.
#
#   clients/java/bench/run.sh [SECONDS]   seconds per measurement (1 by default)
set -euo pipefail

bench=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
java=$(dirname -- "$bench")
repository=$(cd -- "$java/../.." && pwd)
export LARDER_BIN=${LARDER_BIN:-$repository/target/release/larder}
[[ -x $LARDER_BIN ]] || {
    echo "$LARDER_BIN not found: run \`cargo build --release\`" >&2
    exit 2
}
"$java/test.sh" --setup
work=$(mktemp -d "${TMPDIR:-/tmp}/larder-bench.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
cp -R "$bench/pom.xml" "$bench/src" "$work"
(cd "$work" && mvn --batch-mode --quiet -Dmaven.repo.local="$repository/target/clients/java/repository" \
    package dependency:copy-dependencies)
java -cp "$work/target/classes:$work/target/dependency/*" Bench "${1:-1}"
