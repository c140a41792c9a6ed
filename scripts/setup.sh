#!/usr/bin/env bash
# Installs missing system packages. Packages that exist already are not touched.
#
#   scripts/setup.sh build   Rust and a C compiler
#   scripts/setup.sh test    redis-server and prometheus, which the tests start themselves, and tmux,
#                            their terminal
#   scripts/setup.sh browser Chromium, in which the pages are tested
#   scripts/setup.sh count   h2load and valgrind, to count instructions
#   scripts/setup.sh musl    the C library of static binaries
#   scripts/setup.sh bench   h2load, and the servers of the comparison
set -euo pipefail

# The minimum supported Rust version, as in Cargo.toml.
readonly RUST_MINOR=88

# Debian packages run this script before they start a service; exit code 101 forbids it.
readonly POLICY=/usr/sbin/policy-rc.d

# rustup installs cargo here; a shell started before does not have it in its path.
PATH=$HOME/.cargo/bin:$PATH

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
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "$1" >/dev/null
  elif have brew; then
    echo "setup: installing $2" >&2
    brew install --quiet "$2"
  else
    fail "please install $1: neither apt-get nor brew was found"
  fi
}

setup_rust() {
  local version='' minor
  if have cargo; then
    version=$(cargo --version)
    minor=$(sed -nE 's/^cargo 1\.([0-9]+).*/\1/p' <<<"$version")
    ((${minor:-0} >= RUST_MINOR)) && return
    # rustup's toolchain is the developer's choice; a distribution's old cargo is only shadowed.
    if have rustup; then
      fail "Rust 1.$RUST_MINOR or later is needed, this is $version:\
 run 'rustup update stable' and 'rustup default stable'"
    fi
  fi
  have curl || install_package curl curl
  echo "setup: installing Rust" >&2
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
    sh -s -- -y --profile minimal --component clippy,rustfmt
}

setup_build() {
  have cc || install_package build-essential gcc
  setup_rust
}

# install_service DEBIAN_NAME BREW_NAME: installs a package without starting its service. The tests
# and benchmarks start their own.
install_service() {
  local placed=
  if have apt-get && [[ ! -e $POLICY ]]; then
    placed=yes
    # If it stayed, for instance after Ctrl-C, no later package could start its service.
    trap 'as_root rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod +x "$POLICY"
  fi
  install_package "$1" "$2"
  if [[ -n $placed ]]; then
    as_root rm -f "$POLICY"
    trap - EXIT
    # The service must not start at the next boot either.
    if [[ -d /run/systemd/system ]]; then
      as_root systemctl --quiet disable "${1/etcd-server/etcd}"
    fi
  fi
}

setup_test() {
  have redis-server || install_service redis-server redis
  have tmux || install_package tmux tmux
  # With promtool, which checks and tests the rules.
  have prometheus || install_service prometheus prometheus
}

setup_browser() {
  have chromium || have google-chrome || install_package chromium chromium
  # Without a font, texts have no size.
  have fc-list && [[ -n $(fc-list) ]] || install_package fonts-dejavu-core font-dejavu
}

setup_count() {
  # Instructions are counted on Linux only.
  [[ $(uname) == Linux ]] || return 0
  have curl || install_package curl curl
  have taskset || install_package util-linux util-linux
  have h2load || install_package nghttp2-client nghttp2
  have redis-cli || install_package redis-tools redis
  have valgrind || install_package valgrind valgrind
}

setup_musl() {
  have musl-gcc || install_package musl-tools filosottile/musl-cross/musl-cross
}

setup_bench() {
  have curl || install_package curl curl
  have h2load || install_package nghttp2-client nghttp2
  have taskset || install_package util-linux util-linux
  have redis-benchmark || install_package redis-tools redis
  have etcd || install_service etcd-server etcd
}

for part in "$@"; do
  case $part in
    build | test | browser | count | musl | bench) "setup_$part" ;;
    *) fail "unknown part '$part': build, test, browser, count, musl or bench" ;;
  esac
done
