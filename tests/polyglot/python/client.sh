#!/usr/bin/env bash
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly VENV=$INSTALLED/venv STUBS=$INSTALLED/python

install() {
    python3 -m venv --clear "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$CLIENT/requirements.txt"
}

generate() {
    "$VENV/bin/python" -m grpc_tools.protoc -I "$repository/proto" \
        --python_out="$STUBS" --grpc_python_out="$STUBS" "$PROTO" "$ORIGIN_PROTO"
}

setup() {
    need python3 "the Python client runs on it"
    once "$VENV" "$CLIENT/requirements.txt" -- install
    once "$STUBS" "$CLIENT/requirements.txt" "$PROTO" "$ORIGIN_PROTO" -- generate
}

run_pytest() {
    # No bytecode and no cache in the source tree.
    (cd "$CLIENT" && PYTHONPATH=$STUBS:$repository/examples/python PYTHONDONTWRITEBYTECODE=1 \
        "$VENV/bin/python" -m pytest --quiet --tb=short -rs -p no:cacheprovider "$@")
}

write() { run_pytest test_shared.py::test_write; }

check() { run_pytest; }

load() { PYTHONPATH=$STUBS PYTHONDONTWRITEBYTECODE=1 exec "$VENV/bin/python" "$CLIENT/load.py"; }

main "$@"
