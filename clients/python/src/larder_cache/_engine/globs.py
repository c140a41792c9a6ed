"""Globs of keys, as the server reads them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

MAX_BYTES = 1024
MAX_WILDCARDS = 32


class GlobError(ValueError):
    """A pattern that the server refuses."""


@functools.lru_cache(maxsize=1024)
def matcher(glob: str) -> Callable[[str], bool]:
    """Whether a key matches the glob as a whole. Raises `GlobError`."""
    if len(glob.encode()) > MAX_BYTES:
        raise GlobError(f"a pattern has at most {MAX_BYTES} bytes")
    parts: list[str] = []
    wildcards = 0
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "\\":
            if position == len(glob):
                raise GlobError("a pattern must not end with a backslash")
            parts.append(re.escape(glob[position]))
            position += 1
        elif character == "*" and parts[-1:] == [".*"]:
            # Several in a row are one.
            continue
        elif character in "*?":
            wildcards += 1
            parts.append(".*" if character == "*" else ".")
        elif character == "[":
            wildcards += 1
            part, position = _character_class(glob, position)
            parts.append(part)
        else:
            parts.append(re.escape(character))
    if wildcards > MAX_WILDCARDS:
        raise GlobError(f"a pattern has at most {MAX_WILDCARDS} wildcards")
    compiled = re.compile("".join(parts), re.DOTALL)
    return lambda key: compiled.fullmatch(key) is not None


def _character_class(glob: str, position: int) -> tuple[str, int]:
    negated = glob[position : position + 1] in ("^", "!")
    if negated:
        position += 1
    ranges: list[str] = []
    while True:
        if position >= len(glob):
            raise GlobError("a class is not closed")
        character = glob[position]
        position += 1
        if character == "]":
            break
        if character == "\\" and position < len(glob):
            character = glob[position]
            position += 1
        if glob[position : position + 1] == "-" and glob[position + 1 : position + 2] not in (
            "]",
            "",
        ):
            last = glob[position + 1]
            position += 2
            if last == "\\" and position < len(glob):
                last = glob[position]
                position += 1
            low, high = sorted((character, last))
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append(re.escape(character))
    if not ranges:
        return (".", position) if negated else ("(?!)", position)
    return f"[{'^' if negated else ''}{''.join(ranges)}]", position
