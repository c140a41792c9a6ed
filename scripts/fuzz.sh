#!/usr/bin/env bash
# Searches for inputs that reach new code, and for those that fail a fuzz target, with libFuzzer.
#
#   scripts/fuzz.sh                            each target for a minute
#   TARGET=glob TIME=1h scripts/fuzz.sh        one target for an hour
#   KEEP=1 TIME=10m scripts/fuzz.sh            keeps what is found in fuzz/corpus
#   LIST=1 scripts/fuzz.sh                     lists the targets
#
# Any Rust toolchain that builds Larder will do: the compiler inserts the counters of the coverage.
# Addresses are not checked, because Larder has no unsafe code.
#
# What is found is in target/fuzz/corpus. An input that fails a target goes to fuzz/corpus, where
# `cargo test` finds it.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BUILD=$PWD/target/fuzz/build FOUND=$PWD/target/fuzz/corpus KEPT=$PWD/fuzz/corpus
# Larger inputs are not kept: all of them together stay below 200 KiB.
readonly MAX_KEPT_BYTES=1024 MAX_KEPT_FILES=40

fail() {
  echo "fuzz: $1" >&2
  exit 1
}

# seconds TIME: of 90, 90s, 10m or 1h
seconds() {
  local number=${1%[smh]}
  [[ $number =~ ^[0-9]+$ ]] || fail "TIME is '$1', expected a number such as 90s, 10m or 1h"
  case $1 in
  *m) echo $((number * 60)) ;;
  *h) echo $((number * 3600)) ;;
  *) echo "$number" ;;
  esac
}

build() {
  command -v cargo >/dev/null || fail "cargo not found: run scripts/setup.sh build"
  command -v "${CXX:-c++}" >/dev/null ||
    fail "no C++ compiler, with which libFuzzer is built: install g++ or clang, or set CXX"
  local flags=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    # Otherwise the tables of functions that are left out have no end.
    -Clink-dead-code
    -Ccodegen-units=1
  )
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  # With --target, build scripts and macros get none of the flags.
  RUSTFLAGS="${flags[*]}" CARGO_INCREMENTAL=0 cargo test --locked --package larder --lib \
    --profile fuzz --target "$host" --target-dir "$BUILD" --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# targets PROGRAM: the name of each test of a target
targets() {
  "$1" --list --format terse 2>/dev/null | sed -n 's/^\(.*::fuzz_tests::.*\): test$/\1/p'
}

# run TEST ARGUMENTS: libFuzzer with the target of a test. To merge, libFuzzer runs its program
# again with other arguments. The name of the program is that of a script which does that.
run() {
  local again=$BUILD/run-${1##*::}
  printf '#!/bin/sh\nLIBFUZZER_ARGS="$*" exec "%s" "%s" --exact --nocapture --test-threads=1\n' \
    "$program" "$1" >"$again"
  chmod +x "$again"
  (
    export LIBFUZZER_ARGS=$2
    exec -a "$again" "$program" "$1" --exact --nocapture --test-threads=1
  )
}

# size FOLDER: number of files
size() { find "$1" -type f | wc -l; }

# minimise TEST: the fewest inputs that reach what all of them reach
minimise() {
  local name=${1##*::} kept=$KEPT/${1##*::} fewest
  fewest=$(mktemp -d)
  run "$1" "-set_cover_merge=1 -max_len=$MAX_KEPT_BYTES $fewest $kept $FOUND/$name" >/dev/null 2>&1
  # Those that a developer has named stay.
  find "$kept" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
  local file copied=0
  # The smallest first.
  while read -r file; do
    ((copied < MAX_KEPT_FILES)) || break
    cmp --silent "$file" "$kept/${file##*/}" || cp "$file" "$kept"
    copied=$((copied + 1))
  done < <(find "$fewest" -type f -printf '%s %p\n' | sort -n | cut -d ' ' -f 2-)
  rm -rf -- "$fewest"
  echo "$name: $(size "$kept") inputs are kept"
}

if [[ -n ${LIST:-} ]]; then
  # Each target has inputs that are kept.
  ls "$KEPT"
  exit
fi
time=$(seconds "${TIME:-1m}")
program=$(build)
[[ -x $program ]] || fail "the tests could not be built"
tests=()
while IFS= read -r test; do
  [[ -n ${TARGET:-} && ${test##*::} != "$TARGET" ]] || tests+=("$test")
done < <(targets "$program")
((${#tests[@]} > 0)) || fail "there is no target '${TARGET:-}': LIST=1 make fuzz lists them"

failed=()
for test in "${tests[@]}"; do
  name=${test##*::}
  log=target/fuzz/$name.log
  mkdir -p "$FOUND/$name" "$KEPT/$name"
  arguments="-max_total_time=$time -timeout=60 -rss_limit_mb=4096 -print_final_stats=1"
  arguments+=" -artifact_prefix=$KEPT/$name/ $FOUND/$name $KEPT/$name"
  if run "$test" "$arguments" >"$log" 2>&1; then
    sed -n "s/^#\([0-9]*\)[[:space:]]*DONE *\(.*\)/$name: \1 inputs, \2/p" "$log"
    [[ -z ${KEEP:-} ]] || minimise "$test"
  else
    failed+=("$name")
    tail -n 40 "$log"
  fi
done
((${#failed[@]} == 0)) || fail "failed: ${failed[*]} (the inputs are in fuzz/corpus)"
