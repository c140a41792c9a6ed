#!/usr/bin/env bash
# Installs what is missing, and nothing that is there.
#
#   scripts/setup.sh build   Rust and a C compiler
#   scripts/setup.sh test    a redis-server that the tests start themselves
#   scripts/setup.sh bench   the load generator of the benchmark
set -euo pipefail

# The oldest Rust that builds it, as in Cargo.toml.
readonly RUST_MINOR=88

have() { command -v "$1" >/dev/null 2>&1; }

fail() {
  echo "setup: $1" >&2
  exit 1
}

as_root() {
  if [[ $(id -u) -eq 0 ]]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    fail "cannot install packages: not root, and there is no sudo"
  fi
}

# install_package DEBIAN_NAME BREW_NAME
install_package() {
  if have apt-get; then
    echo "setup: installing $1" >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null
  elif have brew; then
    echo "setup: installing $2" >&2
    brew install --quiet "$2"
  else
    fail "please install $1: neither apt-get nor brew is here to do it"
  fi
}

setup_rust() {
  if have cargo || [[ -x $HOME/.cargo/bin/cargo ]]; then
    local version minor
    version=$(PATH=$HOME/.cargo/bin:$PATH cargo --version)
    minor=$(sed -E 's/^cargo 1\.([0-9]+).*/\1/' <<<"$version")
    ((minor >= RUST_MINOR)) || fail "Rust 1.$RUST_MINOR or later is needed, this is $version: run 'rustup update stable'"
    return
  fi
  have curl || install_package curl curl
  echo "setup: installing Rust" >&2
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt
  fail "Rust is installed now; open a new shell, or run 'source ~/.cargo/env', and repeat the command"
}

setup_build() {
  have cc || install_package build-essential gcc
  setup_rust
}

setup_test() {
  have redis-server && return
  # The package would start a server of its own, which the tests do not need and the machine may not want.
  local policy=/usr/sbin/policy-rc.d placed=
  if have apt-get && [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    placed=yes
  fi
  local status=0
  install_package redis-server redis || status=$?
  if [[ -n $placed ]]; then as_root rm -f "$policy"; fi
  return "$status"
}

setup_bench() {
  have h2load || install_package nghttp2-client nghttp2
  have taskset || install_package util-linux util-linux
}

for part in "$@"; do
  case $part in
    build | test | bench) "setup_$part" ;;
    *) fail "unknown part '$part': build, test or bench" ;;
  esac
done
