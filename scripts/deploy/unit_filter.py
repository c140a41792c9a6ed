#!/usr/bin/env python3
"""Checks that the unit of systemd permits each system call that Larder uses, which are those of
examples/seccomp.json.

    unit_filter.py UNIT SECCOMP
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from manifests import Failed, main


def members(group):
    """The system calls of a group such as @system-service."""
    command = ["systemd-analyze", "syscall-filter", group]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = set()
    for line in output.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= members(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


def permitted(unit):
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.+)$", unit.read_text(), re.MULTILINE):
        groups = line.removeprefix("~").split()
        calls = set().union(*(members(group) for group in groups))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def run():
    unit, seccomp = Path(sys.argv[1]), Path(sys.argv[2])
    rules = json.loads(seccomp.read_text())["syscalls"]
    used = {name for rule in rules for name in rule["names"] if rule["action"] == "SCMP_ACT_ALLOW"}
    missing = used - permitted(unit)
    if not used or missing:
        raise Failed(f"{unit} forbids {', '.join(sorted(missing)) or 'what is unknown'}")
    print(f"ok      {unit.name}: permits the {len(used)} system calls of Larder")


if __name__ == "__main__":
    main(run)
