#!/usr/bin/env bash
# Generates src/gen from the protos. Needs `npm ci` and, as `python3 -m grpc_tools.protoc`, protoc
# with the well-known types (the Python package grpcio-tools); PYTHON names another interpreter.
#
#   ./generate.sh           writes src/gen
#   ./generate.sh --check   fails if src/gen differs from what would be written
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
protos=$(cd -- "$here/../../proto" && pwd)
out=$(mktemp -d)
trap 'rm -rf -- "$out"' EXIT

options=outputServices=grpc-js,esModuleInterop=true,importSuffix=.js,forceLong=bigint
options+=,oneof=unions-value,enumsAsLiterals=true,useOptionals=messages,env=both
options+=,outputJsonMethods=false,removeEnumPrefix=true

"${PYTHON:-python3}" -m grpc_tools.protoc \
    --plugin=protoc-gen-ts_proto="$here/node_modules/.bin/protoc-gen-ts_proto" \
    --ts_proto_out="$out" --ts_proto_opt="$options" \
    -I "$protos" -I "$here/proto" \
    larder/v1/cache_service.proto larder/v1/admin_service.proto error_details.proto

if [[ ${1-} == --check ]]; then
    diff -r -- "$here/src/gen" "$out"
else
    rm -rf -- "$here/src/gen"
    cp -r -- "$out" "$here/src/gen"
fi
