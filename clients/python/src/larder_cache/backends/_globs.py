"""Globs of the server for keys that begin with a text."""

from __future__ import annotations

import re

__all__ = ["prefix_glob"]

# `]` ends a class and is text outside of one; it needs no escape, nor does `^`.
_SPECIAL = re.compile(r"[*?\[\\]")


def prefix_glob(prefix: str) -> str:
    """The glob of all keys that begin with `prefix`."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], prefix) + "*"
