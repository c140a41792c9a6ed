"""Calls of functions that have the same keys in all languages, and values that all can read."""

from __future__ import annotations

from typing import Any


def call(function: str, *positional: Any, **named: Any) -> dict[str, Any]:
    """A call of a function: README.md has those that all workers have."""
    return {"function": function, "positional": positional, "named": named}


# Each has an entry of its own.
CALLS: list[dict[str, Any]] = [
    call("report", 2026),
    call("report", 2026, "Zürich 😀"),
    call("report", -17, 'quotes " \\ and \n\t\u0001\u2028/', filters=None),
    call("report", 0.1, filters=[1, -2.5, None, True, "ß", []]),
    call("report", 1e21, "", filters=[[1e-7, 333333333.3333333], 9007199254740991]),
    call("report", 0, filters={"b": 1, "a": [False], "é": None, "\uffee": 2, "😀": {}}),
    call("report", None, None),
    call("report", True, "None"),
    call("user", 7),
    call("user", 7, 2),
    call("user", "Jürgen 😀", page="7"),
    call("user", None),
    call("user", "null"),
    call("user", 1.5),
    call("user", "1.5"),
    call("pair", "a", "b"),
    call("pair", "a:b", "c"),
    call("pair", "a", "b:c"),
    call("pair", [1, "x"], {"k": "ü"}),
]

# Further spellings, with the number of the call above that they are.
SPELLINGS: list[tuple[dict[str, Any], int]] = [
    (call("report", year=2026), 0),
    (call("report", filters=None, region="eu", year=2026), 0),
    (call("report", 2026.0, "eu", filters=None), 0),
    (call("report", 2026, region="Zürich 😀"), 1),
    (call("report", -0.0, filters={"😀": {}, "\uffee": 2.0, "é": None, "a": [False], "b": 1}), 5),
    (call("user", page=1, user_id=7), 8),
    (call("user", "7"), 8),
    (call("pair", b="c", a="a:b"), 16),
]

DOCUMENT = {
    "text": 'Grüße 😀 \u2028\u0000\\"',
    "numbers": [0, -1, 9007199254740991, -9007199254740991, 0.1, 1e21, 5e-324, 1.5],
    "digits": [993.7555460652059, 10711.928291633143, 0.30000000000000004, 2.2250738585072014e-308],
    "none": None,
    "flags": [True, False],
    "empty": [{}, [], ""],
    "ключ": {"a": {"b": {"c": [None]}}},
}


def values_of(writer: str) -> list[Any]:
    """A value for each call, which no other writer has."""
    kinds: list[Any] = [
        lambda number: {**DOCUMENT, "writer": writer, "number": number},
        lambda number: f"{writer} Ünïcode 😀 {number}",
        lambda number: [writer, number, None],
    ]
    return [kinds[number % len(kinds)](number) for number in range(len(CALLS))]


def difference(expected: Any, found: Any, place: str = "value") -> str | None:
    """The first place where values differ: numbers by their value, but a boolean is no number."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        pairs = [(f"{place}.{name}", expected[name], found[name]) for name in expected]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(f"{place}[{at}]", *pair) for at, pair in enumerate(zip(expected, found))]
    elif isinstance(expected, bool) == isinstance(found, bool) and expected == found:
        return None
    else:
        return f"{place} is {found!r}, not {expected!r}"
    differences = (difference(one, other, inner) for inner, one, other in pairs)
    return next((each for each in differences if each is not None), None)
