# What the clients' scripts share. Each client is a folder with a client.sh of three commands:
#
#   client.sh setup   installs what it needs under target/polyglot; quick when that is done already
#   client.sh write   writes the shared entries to $LARDER_ADDRESS
#   client.sh check   checks everything on $LARDER_ADDRESS, the entries of all $LARDER_WRITERS included
#
# LARDER_ORIGINS names the origins that the server has: http is that of the namespace origin-http, and so on.
# LARDER_ADMIN_ADDRESS is where its metrics are.
#
# Exit code 69 of setup, and the last line it prints, say which toolchain is missing.
# shellcheck shell=bash

set -euo pipefail

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/tools.sh
source "$repository/scripts/tools.sh"

# shellcheck disable=SC2034 # The clients' scripts read these.
{
    INSTALLED=$repository/target/polyglot
    CLIENT=$(cd -- "$(dirname -- "$0")" && pwd)
    PROTO=$repository/proto/larder/v1/cache_service.proto
    ORIGIN_PROTO=$repository/proto/larder/origin/v1/origin_service.proto
}

# once DIRECTORY INPUT... -- COMMAND...: runs the command unless it has succeeded for these very inputs before.
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

# main COMMAND: runs the function of that name; nothing by default, as not every client writes or needs a set-up.
setup() { :; }
write() { :; }
main() {
    case ${1-} in
    setup | write | check) "$1" ;;
    *)
        echo "usage: $0 setup|write|check" >&2
        exit 2
        ;;
    esac
}
