# Common part of the scripts: finds Python, bundles the Node client, and runs a module.
# shellcheck shell=bash
set -euo pipefail
folder=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export PYTHON=${PYTHON:-python3}

bundle() {
    local node=$folder/../node
    if [[ ! -d $node/node_modules ]]; then
        echo "run \`npm ci\` in clients/node first" >&2
        exit 2
    fi
    mkdir -p "$node/node_modules/.cache"
    export LARDER_CLIENT=$node/node_modules/.cache/larder-fleet.mjs
    (cd "$node" && npx esbuild src/index.ts --bundle --format=esm --platform=node \
        --target=node20 --packages=external --log-level=error --outfile="$LARDER_CLIENT")
}

run() {
    bundle
    cd "$folder"
    exec "$PYTHON" -m "$@"
}
