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
    pieces: list[list[str]] = [[]]
    wildcards = 0
    position = 0
    while position < len(glob):
        character = glob[position]
        position += 1
        if character == "\\":
            if position == len(glob):
                raise GlobError("a pattern must not end with a backslash")
            pieces[-1].append(re.escape(glob[position]))
            position += 1
        elif character == "*":
            # Several in a row are one.
            if len(pieces) == 1 or pieces[-1]:
                wildcards += 1
                pieces.append([])
        elif character == "?":
            wildcards += 1
            pieces[-1].append(".")
        elif character == "[":
            wildcards += 1
            part, position = _character_class(glob, position)
            pieces[-1].append(part)
        else:
            pieces[-1].append(re.escape(character))
    if wildcards > MAX_WILDCARDS:
        raise GlobError(f"a pattern has at most {MAX_WILDCARDS} wildcards")
    return _matcher([(re.compile("".join(each), re.DOTALL), len(each)) for each in pieces])


def _matcher(pieces: list[tuple[re.Pattern[str], int]]) -> Callable[[str], bool]:
    """Whether a key is these pieces, each of a fixed length, with anything in between.

    The first place of each piece is enough, so that no step is taken back: one expression for all
    would need a time that is exponential in the number of asterisks.
    """
    (first, length), *others = pieces
    if not others:
        return lambda key: first.fullmatch(key) is not None
    *middle, (last, last_length) = others

    def matches(key: str) -> bool:
        end = len(key) - last_length
        if end < length or first.match(key) is None or last.match(key, end) is None:
            return False
        position = length
        for piece, _ in middle:
            found = piece.search(key, position, end)
            if found is None:
                return False
            position = found.end()
        return True

    return matches


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
