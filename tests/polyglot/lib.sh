# Functions shared by the clients' scripts. Each client is a folder with a client.sh that has these
# commands:
#
#   client.sh setup   installs the dependencies under target/polyglot; quick if they are there
#   client.sh write   writes the shared entries to $LARDER_ADDRESS
#   client.sh check   runs all checks against $LARDER_ADDRESS; reads the entries of $LARDER_WRITERS
#   client.sh load    calls the replicas at $LARDER_ADDRESSES until the file $LARDER_STOP exists;
#                     prints `calls=N failed=N`, and fails if a call did; with LARDER_TLS_CA the
#                     replicas have TLS
#
# LARDER_ORIGINS lists the origins of the server: `http` belongs to the namespace `origin-http`, and
# so on. LARDER_ADMIN_ADDRESS is the address of its metrics.
#
# If setup exits with 69, a toolchain is missing; the last line of output names it.
# shellcheck shell=bash

set -euo pipefail

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/tools.sh
source "$repository/scripts/tools.sh"

# shellcheck disable=SC2034 # Used by the clients' scripts.
{
    INSTALLED=$repository/target/polyglot
    CLIENT=$(cd -- "$(dirname -- "$0")" && pwd)
    PROTO=$repository/proto/larder/v1/cache_service.proto
    ORIGIN_PROTO=$repository/proto/larder/origin/v1/origin_service.proto
}

# once DIRECTORY INPUT... -- COMMAND...: runs the command, unless it succeeded before with the same
# contents of the input files.
once() {
    local directory=$1 inputs=() digest
    shift
    while [[ $1 != -- ]]; do
        inputs+=("$1")
        shift
    done
    shift
    digest=$(cat -- "${inputs[@]}" | cksum)
    if [[ $(cat "$directory/.made-from" 2>/dev/null) != "$digest" ]]; then
        mkdir -p "$directory"
        rm -f "$directory/.made-from"
        "$@"
        echo "$digest" >"$directory/.made-from"
    fi
}

# main COMMAND: runs the function of that name. Clients without `setup`, `write` or `load` inherit
# no-ops.
setup() { :; }
write() { :; }
load() { :; }
main() {
    case ${1-} in
    setup | write | check | load) "$1" ;;
    *)
        echo "usage: $0 setup|write|check|load" >&2
        exit 2
        ;;
    esac
}
