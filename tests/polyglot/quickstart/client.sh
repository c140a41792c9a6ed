#!/usr/bin/env bash
# Runs examples/python/quickstart.py as in its README, with the Python client's installation.
# shellcheck source=tests/polyglot/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../lib.sh"

readonly EXAMPLE=$repository/examples/python

setup() {
    "$repository/tests/polyglot/python/client.sh" setup
    # The example runs with the Python client's installation, so its requirements must be a subset.
    local requirements=examples/python/requirements.txt
    local installed=tests/polyglot/python/requirements.txt
    if grep -vxFf "$repository/$installed" "$repository/$requirements"; then
        echo "^ in $requirements, but not in $installed"
        return 1
    fi
}

check() {
    PYTHONPATH=$INSTALLED/python "$INSTALLED/venv/bin/python" "$EXAMPLE/quickstart.py"
}

main "$@"
