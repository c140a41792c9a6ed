#!/usr/bin/env bash
# See README.md.
# shellcheck source=clients/fleet/_run.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"
run stampede "$@"
