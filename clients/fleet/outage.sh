#!/usr/bin/env bash
# See README.md.
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"
run outage "$@"
