#!/usr/bin/env bash
# Origins that the other clients read through, and checks of the examples among them. More commands:
#
#   client.sh available         lists the origins that can be started: http, python, rust
#   client.sh serve NAME PORT   runs an origin
#
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly EXAMPLES=$repository/examples RUST=$INSTALLED/origin-rust
readonly PYTHON=$INSTALLED/venv/bin/python

setup() {
    "$repository/tests/polyglot/python/client.sh" setup
    grpcurl >/dev/null
    # The example runs with the Python client's installation, so its requirements must be a subset.
    local requirements=examples/origin-python/requirements.txt
    local installed=tests/polyglot/python/requirements.txt
    if grep -vxFf "$repository/$installed" "$repository/$requirements"; then
        echo "^ in $requirements, but not in $installed"
        return 1
    fi
    need cargo "the example in Rust is built with it"
    # Without debug information it builds faster.
    CARGO_PROFILE_DEV_DEBUG=0 cargo build --quiet --locked \
        --manifest-path "$EXAMPLES/origin-rust/Cargo.toml" --target-dir "$RUST"
}

available() {
    has python3 || return 0
    echo http
    if [[ -x $PYTHON ]]; then echo python; fi
    if [[ -x $RUST/debug/larder-origin-example ]]; then echo rust; fi
}

serve() {
    case $1 in
    http) exec python3 "$CLIENT/http_origin.py" "$2" ;;
    python)
        ADDRESS=127.0.0.1:$2 PYTHONPATH=$INSTALLED/python \
            exec "$PYTHON" "$EXAMPLES/origin-python/origin.py"
        ;;
    rust) ADDRESS=127.0.0.1:$2 exec "$RUST/debug/larder-origin-example" ;;
    esac
}

# Both examples have the key `ada` and no other, as in examples/README.md.
check() {
    local name key out
    for name in python rust; do
        for key in ada nobody; do
            out=$("$(grpcurl)" -plaintext -max-time 15 \
                -d '{"namespace":"origin-'"$name"'","key":"'"$key"'"}' \
                "$LARDER_ADDRESS" larder.v1.CacheService/GetOrFetch 2>&1) || true
            echo "> $key of origin-$name: $out"
            case $key in
            ada) [[ $out == *"Ada Lovelace"* ]] ;;
            nobody) [[ $out == *OUTCOME_NEGATIVE* ]] ;;
            esac
        done
    done
}

case ${1-} in
available | serve) "$@" ;;
*) main "$@" ;;
esac
