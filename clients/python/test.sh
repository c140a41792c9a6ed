#!/usr/bin/env bash
# Tests the Python client.
#
#   clients/python/test.sh           all checks
#   clients/python/test.sh types     one of them
#   clients/python/test.sh --setup   only installs what they need
#
# LARDER_BIN is the server, and LARDER_CLIENT_CONTROL the control program of the conformance cases.
# PYTEST_ARGS are further arguments of pytest. The exit code is 69 without a usable python3.
# shellcheck source=clients/checks.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../checks.sh"

readonly here=$clients/python
readonly VENV=$INSTALLED/python-venv
export PYTHONDONTWRITEBYTECODE=1

install() {
    "$here/uv.sh" venv --quiet --clear --python python3 "$VENV"
    "$here/uv.sh" pip install --quiet --python "$VENV/bin/python" -r "$here/requirements-test.txt"
}

setup() {
    python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
        echo "python3, version 3.10 or later with the module venv, not found" >&2
        exit "$EX_UNAVAILABLE"
    }
    once "$VENV" "$here/requirements-test.txt" -- install
    # The sources are used as they are, without an installation.
    echo "$here/src" >"$(echo "$VENV"/lib/python3.*/site-packages)/larder_cache.pth"
    "$here/suites/run.sh" --setup
}

# run_pytest ARGUMENT...: fails if nothing was run.
run_pytest() {
    # shellcheck disable=SC2086 # Several arguments.
    (cd "$here" && "$VENV/bin/python" -m pytest -q --tb=short -rs -p no:cacheprovider \
        ${PYTEST_ARGS-} "$@")
}

check_unit() {
    run_pytest tests --ignore tests/conformance --ignore tests/processes
}

check_processes() { run_pytest tests/processes; }

check_conformance() {
    report_conformance python
    "$VENV/bin/python" "$clients/conformance/build.py" --check
    run_pytest tests/conformance
}

check_suites() {
    "$here/suites/run.sh" --store memory
    "$here/suites/run.sh" --store redis
}

check_types() {
    (
        cd "$here"
        "$VENV/bin/ruff" check --no-cache src tests
        "$VENV/bin/ruff" format --no-cache --check src tests
        "$VENV/bin/mypy" --strict --cache-dir "$INSTALLED/mypy" src tests/typing_users.py
        "$VENV/bin/pyright" --pythonpath "$VENV/bin/python"
    )
}

check_generated() {
    "$here/generate.sh" --check
    echo "the generated code is that of the protos"
}

check_package() { "$here/package.sh"; }

case ${1-} in
--setup) setup ;;
'')
    setup >&2
    run_lanes python "suites types generated package processes" "conformance unit"
    ;;
*)
    setup >&2
    run_lanes python "$*"
    ;;
esac
