#!/usr/bin/env bash
# Runs uv, which makes environments in a fraction of the time of venv and pip. It is installed first,
# and uses the package index of pip.
#
#   clients/python/uv.sh venv DIRECTORY
#   clients/python/uv.sh pip install --python DIRECTORY/bin/python REQUIREMENT...
set -euo pipefail

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
uv=$("$repository/scripts/tools.sh" uv)
index=$(pip3 config get global.index-url 2>/dev/null || true)
index=${PIP_INDEX_URL:-$index}
[[ -z $index ]] || export UV_DEFAULT_INDEX=$index
export UV_CACHE_DIR=$repository/target/clients/uv-cache UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
exec "$uv" --no-config "$@"
