#!/usr/bin/env bash
# Checks that docs/scale.md has the sizes that scripts/scale/size.py computes.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v python3 >/dev/null 2>&1; then
  echo "SKIPPED docs/scale.md: python3 not found"
  exit
fi
scripts/scale/size.py --check
echo "ok      docs/scale.md"
