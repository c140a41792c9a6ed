"""Commands of a console as a page shows them, and the output below them."""

from __future__ import annotations

import re
import shlex

from server import Fault

# What differs from run to run: versions, tokens of leases, durations.
VARIABLE = [
    (r"\b[0-9a-f]{16}\b", r"[0-9a-f]{16}"),
    (r"[A-Za-z0-9+/]{22}==", r"[A-Za-z0-9+/]{22}=="),
    (r"\b\d+(?:\.\d+)?(?:us|ms|s|m|h|d)(?: \d+(?:us|ms|s|m|h))*\b", r"[0-9][0-9.a-z ]*"),
    (r"\.\.\.", r".*"),
]


def pattern(line: str) -> str:
    """An expression for the lines that are as the shown one."""
    parts = [line]
    for shown, expression in VARIABLE:
        split: list[str | tuple[str]] = []
        for part in parts:
            if isinstance(part, tuple):
                split.append(part)
                continue
            position = 0
            for match in re.finditer(shown, part):
                split += [part[position : match.start()], (expression,)]
                position = match.end()
            split.append(part[position:])
        parts = split
    texts = [part[0] if isinstance(part, tuple) else re.escape(part) for part in parts]
    # Columns are as wide as their content.
    return re.sub(r"(?:\\ )+", r"\\s+", "".join(texts)).rstrip()


def is_as_shown(output: str, shown: list[str]) -> bool:
    lines = [".*(?:\n.*)*" if line.strip() == "..." else pattern(line.rstrip()) for line in shown]
    text = "\n".join(line.rstrip() for line in output.rstrip().splitlines())
    return re.fullmatch("\n".join(lines), text) is not None


def is_complete(command: str) -> bool:
    if command.rstrip().endswith("\\"):
        return False
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console, each with the output that is shown."""
    found: list[tuple[str, list[str]]] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.startswith("$ "):
            if not found:
                raise Fault("the first line has no command")
            found[-1][1].append(line)
            continue
        command = line[2:]
        while not is_complete(command) and number < len(lines):
            command += f"\n{lines[number]}"
            number += 1
        found.append((command, []))
    return found
