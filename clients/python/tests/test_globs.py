"""Globs of keys, without a server."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from larder_cache._engine.globs import GlobError, matcher


@pytest.mark.parametrize(
    ("glob", "key", "is_match"),
    [
        ("", "", True),
        ("*", "", True),
        ("**", "a\nb", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*ab*ba*", "aba", False),
        ("*ab*ba*", "xabyba", True),
        ("a?c*", "abc", True),
        ("*[b-d]?", "ace", True),
        ("*[^a]", "bba", False),
        (r"\**\?", "*x?", True),
        ("*[]x", "ax", False),
    ],
)
def test_matches(glob: str, key: str, is_match: bool) -> None:
    assert matcher(glob)(key) is is_match


def test_it_agrees_with_an_expression() -> None:
    keys = ["".join(key) for size in range(6) for key in itertools.product("ab", repeat=size)]
    for size in range(6):
        for characters in itertools.product("ab*?", repeat=size):
            glob = "".join(characters)
            expression = re.compile(glob.replace("*", ".*").replace("?", "."))
            matches = matcher(glob)
            for key in keys[:: 1 + size]:
                assert matches(key) == bool(expression.fullmatch(key)), (glob, key)


def test_many_wildcards_take_no_time() -> None:
    matches = matcher("*a" * 15 + "*b")
    began = time.monotonic()
    assert not matches("a" * 500)
    assert time.monotonic() - began < 1


def test_mistakes() -> None:
    for glob in ("a\\", "[a", "*a" * 33, "a" * 1025):
        with pytest.raises(GlobError):
            matcher(glob)
