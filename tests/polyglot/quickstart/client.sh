#!/usr/bin/env bash
# examples/python/quickstart.py, as its README tells a reader to run it, with the Python client's installation.
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly EXAMPLE=$repository/examples/python

setup() {
    "$repository/tests/polyglot/python/client.sh" setup
    # The example asks for nothing that the checks do not have.
    if grep -vxFf "$repository/tests/polyglot/python/requirements.txt" "$EXAMPLE/requirements.txt"; then
        echo "^ in examples/python/requirements.txt, but not in tests/polyglot/python/requirements.txt"
        return 1
    fi
}

check() {
    PYTHONPATH=$INSTALLED/python "$INSTALLED/venv/bin/python" "$EXAMPLE/quickstart.py"
}

main "$@"
