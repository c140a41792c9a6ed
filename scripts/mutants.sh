#!/usr/bin/env bash
# Mutation tests: changes the code of the core in one place at a time, and counts how many of the
# changes the unit tests catch. Fails if the score is below 85 percent.
#
#   SHARD=0/8 scripts/mutants.sh                   one of eight parts, each a sample of all files
#   FILES='src/cache/*' scripts/mutants.sh         files that match a glob
#
# .cargo/mutants.toml lists the files that are mutated. The results are in
# target/mutants/PART/mutants.out; PART is `all`, or `0-of-8` for a shard. Shards can run side by
# side.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly MIN_SCORE=85
readonly OUT=$PWD/target/mutants
mutants=$(scripts/tools.sh cargo-mutants)

# A copy is mutated, so that an interrupted run leaves no mutant behind. The copy stays, and with it
# what was compiled: only the mutated crate is built for each mutant.
part=${SHARD:-all}
copy=$OUT/${part/\//-of-}
rm -rf -- "$copy"
mkdir -p "$copy"
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -rd '' file; do
    [[ ! -e $file ]] || printf '%s\0' "$file"
  done |
  tar --create --null --files-from=- | tar --extract --directory="$copy"

# `--file` would add to the files of the configuration.
if [[ -n ${FILES:-} ]]; then
  awk -v files="$FILES" '
    /^examine_globs/ { print "examine_globs = [\"" files "\"]"; skip = 1 }
    !skip { print }
    /^\]/ { skip = 0 }' .cargo/mutants.toml >"$copy/.cargo/mutants.toml"
fi

arguments=(--in-place --output "$copy" --no-times)
[[ -z ${SHARD:-} ]] || arguments+=(--shard "$SHARD")

code=0
export CARGO_TARGET_DIR=$OUT/target CARGO_INCREMENTAL=1
"$mutants" mutants --dir "$copy" "${arguments[@]}" || code=$?
# 2: some mutants were missed; 3: some timed out, which counts as caught.
case $code in 0 | 2 | 3) ;; *) exit "$code" ;; esac

count() { wc -l <"$copy/mutants.out/$1.txt"; }
caught=$(($(count caught) + $(count timeout)))
viable=$((caught + $(count missed)))
((viable > 0)) || { echo "mutants: nothing to mutate" >&2; exit 1; }
score=$((caught * 100 / viable))
echo "mutants: $caught of $viable viable mutants caught: $score %, at least $MIN_SCORE % required"
((score >= MIN_SCORE))
