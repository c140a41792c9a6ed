#!/usr/bin/env bash
# Pinned developer tools under target/tools, never in a global place, so that a checkout does not change the machine.
#
#   scripts/tools.sh grpcurl|health-probe|buf|protoc-gen-go|protoc-gen-go-grpc
#
# prints the path of the tool, installing it when it is missing. Exit code 69 (EX_UNAVAILABLE): the toolchain that
# installs it is not on this machine, so that a caller can tell "skip" from "broken".

readonly GRPCURL_VERSION=v1.9.4
readonly HEALTH_PROBE_VERSION=v0.4.40
readonly BUF_VERSION=1.75.0
readonly PROTOC_GEN_GO_VERSION=v1.36.12
readonly PROTOC_GEN_GO_GRPC_VERSION=v1.6.2

readonly EX_UNAVAILABLE=69

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# The version is part of every path below: a changed pin installs anew, and an old checkout finds its own.
readonly TOOLS=$repository/target/tools

has() { command -v "$1" >/dev/null 2>&1; }

# need COMMAND WHY
need() {
    has "$1" && return
    echo "$1 not found: $2" >&2
    return "$EX_UNAVAILABLE"
}

# go_install BINARY PACKAGE VERSION
go_install() {
    local bin=$TOOLS/$1-$3
    if [[ ! -x $bin/$1 ]]; then
        need go "$1 is built with it" || return
        GOBIN=$bin go install "$2@$3" >&2 || return
    fi
    echo "$bin/$1"
}

grpcurl() { go_install grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl "$GRPCURL_VERSION"; }

protoc_gen_go() { go_install protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go "$PROTOC_GEN_GO_VERSION"; }

protoc_gen_go_grpc() {
    go_install protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc "$PROTOC_GEN_GO_GRPC_VERSION"
}

# `go install` asks for the list of all versions, which not every module proxy has for this module. Building in the
# downloaded module asks for this version only, and takes its own go.sum.
health_probe() {
    local bin=$TOOLS/grpc_health_probe-$HEALTH_PROBE_VERSION module source
    if [[ ! -x $bin/grpc_health_probe ]]; then
        need go "grpc_health_probe is built with it" || return
        module=$(go mod download -json "github.com/grpc-ecosystem/grpc-health-probe@$HEALTH_PROBE_VERSION") || {
            echo "$module" >&2
            return 1
        }
        source=$(sed -n 's/^[[:space:]]*"Dir": "\(.*\)".*/\1/p' <<<"$module")
        go build -C "$source" -o "$bin/grpc_health_probe" . >&2 || return
    fi
    echo "$bin/grpc_health_probe"
}

buf() {
    local npm=$TOOLS/npm/buf-$BUF_VERSION pip=$TOOLS/pip/buf-$BUF_VERSION
    if [[ -x $npm/node_modules/.bin/buf ]]; then
        echo "$npm/node_modules/.bin/buf"
    elif [[ -x $pip/bin/buf ]]; then
        echo "$pip/bin/buf"
    elif has npm; then
        mkdir -p "$npm"
        npm install --prefix "$npm" --no-save --no-package-lock --loglevel=error \
            "@bufbuild/buf@$BUF_VERSION" >&2 || return
        echo "$npm/node_modules/.bin/buf"
    elif has pip3; then
        pip3 install --quiet --target "$pip" "buf-bin==$BUF_VERSION" >&2 || return
        echo "$pip/bin/buf"
    else
        need npm "buf is installed with it, or with pip3"
    fi
}

tool() {
    case ${1-} in
    grpcurl | buf) "$1" ;;
    health-probe | protoc-gen-go | protoc-gen-go-grpc) "${1//-/_}" ;;
    *)
        echo "usage: scripts/tools.sh grpcurl|health-probe|buf|protoc-gen-go|protoc-gen-go-grpc" >&2
        return 2
        ;;
    esac
}

# Sourced, this file only defines functions.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    tool "$@"
fi
