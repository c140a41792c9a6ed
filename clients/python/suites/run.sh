#!/usr/bin/env bash
# Runs the test suites that other projects publish for their cache interfaces, unmodified, against
# the backends of this client and the real server. ../../SUITES.md lists them.
#
#   suites/run.sh                    all suites, on the embedded store
#   suites/run.sh --store redis      on Redis
#   suites/run.sh dogpile django     these only
#   suites/run.sh --setup            only installs what the suites need
#
# LARDER_BIN is the server under test (target/debug/larder by default). The suites come from the
# package registry, at the versions and hashes of this folder, into target/python-suites. The exit
# code is 69 if there is no usable python3.

set -euo pipefail

suites=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$suites/../../.." && pwd)
readonly suites repository

if ! python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "python3, version 3.10 or later with the module venv, not found" >&2
    exit 69
fi

# The tests must leave no compiled files beside the suites, which stay as they were published.
export PYTHONDONTWRITEBYTECODE=1
readonly cache=$repository/target/python-suites
python3 "$suites/fetch.py" "$cache"
exec "$cache/venv/bin/python" "$suites/runner.py" --repository "$repository" --cache "$cache" "$@"
