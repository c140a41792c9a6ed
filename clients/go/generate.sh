#!/usr/bin/env bash
# Generates larderpb from the protos.
#
#   ./generate.sh           writes larderpb
#   ./generate.sh --check   fails if larderpb differs from what would be written
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd -- "$here/../.." && pwd)
buf=$("$repository/scripts/tools.sh" buf)
protoc_gen_go=$("$repository/scripts/tools.sh" protoc-gen-go)
protoc_gen_go_grpc=$("$repository/scripts/tools.sh" protoc-gen-go-grpc)

made=$(mktemp -d)
trap 'rm -rf -- "$made"' EXIT

# The package is not a go_package option, so that the protos stay independent of languages.
package="larder.test/clients/go/larderpb;larderpb"
opt="[paths=source_relative, Mlarder/v1/cache_service.proto=$package"
opt+=", Mlarder/v1/admin_service.proto=$package]"
"$buf" generate "$repository/proto" \
    --path "$repository/proto/larder/v1/cache_service.proto" \
    --path "$repository/proto/larder/v1/admin_service.proto" --template "
version: v2
plugins:
  - {local: $protoc_gen_go, out: $made, opt: $opt}
  - {local: $protoc_gen_go_grpc, out: $made, opt: $opt}
"

if [[ ${1-} == --check ]]; then
    diff -r -- "$here/larderpb" "$made/larder/v1"
else
    rm -rf -- "$here/larderpb"
    cp -r -- "$made/larder/v1" "$here/larderpb"
fi
