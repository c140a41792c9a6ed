#!/usr/bin/env bash
# Starts a Redis, replicas of Larder and the three services, drives them, and prints what users saw.
#
#   examples/apps/run.sh            about three minutes
#   examples/apps/run.sh --quick    under a minute, with queries ten times as fast
#   examples/apps/run.sh --serve    only starts all, for requests by hand
#
# Other arguments are those of the driver: --help. It needs redis-server, Python 3.11 or later
# (PYTHON), Node.js 20 or later, and a binary of Larder: LARDER_BIN, or the newest one below target/.
# What it installs is in target/example-apps, in clients/node and in examples/apps/express_app; a
# second run installs nothing.
set -euo pipefail

apps=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$apps/../.." && pwd)
made=$repository/target/example-apps
readonly apps repository made

fail() {
    echo "run.sh: $1" >&2
    exit 2
}

# newest_binary: of the builds of Larder.
newest_binary() {
    local found newest=''
    for found in "$repository"/target/*/larder; do
        [[ -x $found && (-z $newest || $found -nt $newest) ]] && newest=$found
    done
    echo "$newest"
}

# is_newer STAMP FILE...: whether one of the files is newer than the stamp, or there is no stamp.
is_newer() {
    local stamp=$1
    shift
    [[ ! -e $stamp ]] || [[ -n $(find "$@" -newer "$stamp" -type f -print -quit) ]]
}

install_python() {
    local stamp=$made/python.stamp
    is_newer "$stamp" "$apps/requirements.txt" "$repository/clients/python/pyproject.toml" ||
        return 0
    # Joined by &&, because the shell ignores errors in the function of a condition.
    local uv=$repository/clients/python/uv.sh
    "$uv" venv --quiet --clear --python "${PYTHON:-python3}" "$made/venv" &&
        "$uv" pip install --quiet --python "$made/venv/bin/python" \
            --requirement "$apps/requirements.txt" --editable "$repository/clients/python" &&
        touch "$stamp"
}

# The tests of the client may use them meanwhile, so they are not installed twice.
install_client_modules() {
    local installed=node_modules/.larder-installed
    cmp -s package-lock.json "$installed" && return
    npm ci --silent --no-audit --no-fund --ignore-scripts &&
        cp package-lock.json "$installed"
}

install_node() {
    local client=$repository/clients/node stamp=$made/node.stamp
    is_newer "$stamp" "$client/src" "$client/package.json" "$apps/express_app/package.json" ||
        return 0
    cd "$client" &&
        install_client_modules &&
        npm run --silent build &&
        cd "$apps/express_app" &&
        npm ci --silent --no-audit --no-fund --ignore-scripts &&
        touch "$stamp"
}

command -v redis-server >/dev/null || fail "redis-server is not installed"
command -v node >/dev/null || fail "node is not installed"
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "${PYTHON:-python3} is not Python 3.11 or later: name one with PYTHON"
larder=${LARDER_BIN:-$(newest_binary)}
[[ -n $larder ]] || fail "there is no binary: run \`cargo build\`, or name one with LARDER_BIN"

mkdir -p "$made"
install_python >"$made/python.log" 2>&1 || { cat "$made/python.log" >&2; fail "the packages cannot be installed"; }
install_node >"$made/node.log" 2>&1 || { cat "$made/node.log" >&2; fail "npm failed"; }

larder=$(realpath -- "$larder")
cd "$apps"
exec "$made/venv/bin/python" -m driver --larder "$larder" "$@"
