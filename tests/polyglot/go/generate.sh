#!/usr/bin/env bash
# Generates the Go stubs into gen/, which is not committed: what is tested is always the proto of this checkout.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.."

buf=$(scripts/tools.sh buf)
protoc_gen_go=$(scripts/tools.sh protoc-gen-go)
protoc_gen_go_grpc=$(scripts/tools.sh protoc-gen-go-grpc)

# The package is named here and not by a go_package option: the proto belongs to no language.
opt="[paths=source_relative, Mlarder/v1/cache_service.proto=larder.test/polyglot/gen/larder/v1;larderv1]"
"$buf" generate proto --path proto/larder/v1/cache_service.proto --template "
version: v2
clean: true
plugins:
  - {local: $protoc_gen_go, out: tests/polyglot/go/gen, opt: $opt}
  - {local: $protoc_gen_go_grpc, out: tests/polyglot/go/gen, opt: $opt}
"
