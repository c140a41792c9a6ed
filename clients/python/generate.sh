#!/usr/bin/env bash
# Generates src/larder_cache/_gen from the protos.
#
#   clients/python/generate.sh           writes the files
#   clients/python/generate.sh --check   fails if they would change
#
# grpcio-tools 1.62.2 makes code that runs on protobuf 4.25 to 7. LARDER_TOOLS_PYTHON is a Python
# that has it; by default a virtual environment is made for it.

set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/larder-generate.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

python=${LARDER_TOOLS_PYTHON-}
if [[ -z $python ]]; then
    python=$work/venv/bin/python
    "$here/uv.sh" venv --quiet --python "${PYTHON:-python3}" "$work/venv"
    "$here/uv.sh" pip install --quiet --python "$python" 'grpcio-tools==1.62.2' 'protobuf<5' \
        'setuptools<80'
fi

mkdir "$work/out"
"$python" -m grpc_tools.protoc \
    -I "$here/../../proto" -I "$here/proto" \
    --python_out="$work/out" --pyi_out="$work/out" --grpc_python_out="$work/out" \
    larder/v1/cache_service.proto larder/v1/admin_service.proto larder_client/v1/status.proto
rm -- "$work/out/larder_client/v1/status_pb2_grpc.py"

# The package is flat, and its imports name it: an absolute `larder.v1` could be another package.
mkdir "$work/gen"
for file in "$work"/out/larder/v1/* "$work"/out/larder_client/v1/*; do
    sed -E 's/^from larder(_client)?\.v1 import/from larder_cache._gen import/' "$file" \
        >"$work/gen/${file##*/}"
done
echo '"""Code generated from the protos by generate.sh."""' >"$work/gen/__init__.py"

target=$here/src/larder_cache/_gen
if [[ ${1-} == --check ]]; then
    diff -r -x __pycache__ "$target" "$work/gen"
else
    rm -rf -- "$target"
    cp -r -- "$work/gen" "$target"
fi
