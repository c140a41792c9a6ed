#!/usr/bin/env bash
# soak.sh [TIME=10m]: TIME is a number of seconds, or with s, m or h. See README.md.
# shellcheck source=clients/fleet/_run.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_run.sh"
time=10m
for argument in "$@"; do
    case $argument in
        TIME=*) time=${argument#TIME=} ;;
        *) echo "usage: soak.sh [TIME=10m]" >&2; exit 2 ;;
    esac
done
run soak "$time"
