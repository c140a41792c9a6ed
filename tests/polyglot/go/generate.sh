#!/usr/bin/env bash
# Generates the Go stubs into gen/. They are not committed, so that the tests use the current proto.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../.."

buf=$(scripts/tools.sh buf)
protoc_gen_go=$(scripts/tools.sh protoc-gen-go)
protoc_gen_go_grpc=$(scripts/tools.sh protoc-gen-go-grpc)

# The package name is not a go_package option, so that the proto stays independent of languages.
package="larder.test/polyglot/gen/larder/v1;larderv1"
opt="[paths=source_relative, Mlarder/v1/cache_service.proto=$package]"
"$buf" generate proto --path proto/larder/v1/cache_service.proto --template "
version: v2
clean: true
plugins:
  - {local: $protoc_gen_go, out: tests/polyglot/go/gen, opt: $opt}
  - {local: $protoc_gen_go_grpc, out: tests/polyglot/go/gen, opt: $opt}
"
