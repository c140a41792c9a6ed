#!/usr/bin/env bash
# Tests the dashboard in Chromium, on both stores.
#
#   tests/browser/run.sh                all tests
#   tests/browser/run.sh actions        those of one file
#   tests/browser/run.sh --screenshots  only writes the pictures of docs/images
#
# LARDER_BIN is the server, and CHROMIUM the browser. The exit code is 69 without node and npm.
set -euo pipefail

readonly EX_UNAVAILABLE=69
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly here

for command in node npm; do
    command -v "$command" >/dev/null || {
        echo "$command not found: the tests of the dashboard run on it" >&2
        exit "$EX_UNAVAILABLE"
    }
done

cd "$here"
# The modules are those of the lock file.
if ! cmp -s package-lock.json node_modules/.installed-lock.json; then
    npm ci --loglevel=error
    cp package-lock.json node_modules/.installed-lock.json
fi

case ${1-} in
--screenshots) exec node screenshots.js ;;
'') exec node --test --test-concurrency=1 ./*.test.js ;;
*) exec node --test "$1.test.js" ;;
esac
