#!/usr/bin/env bash
# Runs every check that a change must pass, and prints the time of each step.
#
# Work that no test depends on runs in the background at the lowest priority: it uses only the time
# that the tests spend waiting.
set -euo pipefail
cd "$(dirname "$0")/.."

logs=$(mktemp -d)
declare -A background_pid
times=()

# free_space: a full disk shows as many different errors.
free_space() { echo "=== free space: $(df --output=avail -h . | tail -n 1 | tr -d ' ')"; }

clean_up() {
  local code=$? pid
  ((code == 0)) || free_space
  for pid in "${background_pid[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -rf -- "$logs"
}
trap clean_up EXIT

# step NAME COMMAND...
step() {
  local name=$1 start=$SECONDS
  shift
  echo "=== $name"
  "$@"
  times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}

# background NAME COMMAND...
background() {
  local name=$1
  shift
  nice -n 19 "$@" >"$logs/$name" 2>&1 &
  background_pid[$name]=$!
}

# finish NAME: waits for a command in the background, and fails if it failed.
finish() {
  local code=0
  wait "${background_pid[$1]}" || code=$?
  unset "background_pid[$1]"
  ((code == 0)) || {
    cat "$logs/$1" >&2
    echo "$1 failed" >&2
    exit "$code"
  }
}

free_space
step "system packages and tools" make setup
background polyglot-setup tests/polyglot.sh --setup
background clients-setup clients/test.sh --setup
step "formatting, packaging, dependencies, protos" make lint-files
step "clippy" make clippy
step "documentation" make doc
step "build of the tests" make build-tests
background instructions-build scripts/instructions.sh --build
step "unit and integration tests" make nextest
step "documentation tests" make doctest
step "checker, on four topologies" make soak SOAK=2m
step "clients in other languages: set-up" finish polyglot-setup
step "clients in other languages" tests/polyglot.sh
step "client libraries: set-up" finish clients-setup
step "client libraries" clients/test.sh
step "instructions: build" finish instructions-build
step "instructions" scripts/instructions.sh

free_space
echo "=== all checks passed in $SECONDS s"
printf '%s\n' "${times[@]}"
