#!/usr/bin/env bash
# Runs uv, which makes environments in a fraction of the time of venv and pip. It is installed under
# target/clients first, and uses the package index of pip.
#
#   clients/python/uv.sh venv DIRECTORY
#   clients/python/uv.sh pip install --python DIRECTORY/bin/python REQUIREMENT...
set -euo pipefail

readonly VERSION=0.13.9

target=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)/target/clients
home=$target/uv-$VERSION

if [[ ! -x $home/bin/uv ]]; then
    mkdir -p "$target"
    made=$(mktemp -d "$target/uv.XXXXXX")
    python3 -m venv "$made" >&2
    "$made/bin/pip" install --quiet --disable-pip-version-check "uv==$VERSION" >&2
    # Two scripts can do this at once: the first one wins.
    python3 -c 'import os, sys; os.rename(*sys.argv[1:])' "$made" "$home" 2>/dev/null ||
        rm -rf -- "$made"
fi

index=$("$home/bin/python" -m pip config get global.index-url 2>/dev/null || true)
index=${PIP_INDEX_URL:-$index}
[[ -z $index ]] || export UV_DEFAULT_INDEX=$index
export UV_CACHE_DIR=$target/uv-cache UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
exec "$home/bin/uv" --no-config "$@"
