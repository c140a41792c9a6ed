"""Values, durations and expectations of the cases, as `clients/conformance/README.md` has them."""

from __future__ import annotations

import base64
import math
import re
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Fields of a result that are durations, and arguments that are.
TIMES = frozenset({"ttl", "ttl_remaining", "age", "retry_after"})
# Tolerance of durations, in seconds.
_CLOSE = 0.0015


class OwnForm:
    """A value with a canonical form of its own."""

    def __init__(self, form: Any) -> None:
        self._form = form

    def __larder_key__(self) -> Any:
        return self._form


class Mismatch(AssertionError):
    """A result that is not as expected."""


def seconds(text: Any) -> float | None:
    """The seconds of a duration such as `250ms`; None for anything else."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return float(found[1]) * _UNITS[found[2]] if found else None


def expand(value: Any, bound: dict[str, Any]) -> Any:
    """The value that a tagged form such as `{$bytes: ...}` stands for."""
    if isinstance(value, list):
        return [expand(item, bound) for item in value]
    if not isinstance(value, dict):
        return bound["$each"] if value == "$each" and "$each" in bound else value
    if len(value) == 1:
        ((tag, given),) = value.items()
        if tag in _TAGS:
            return _TAGS[tag](given, bound)
        if tag == "$var":
            return bound[given]
    return {name: expand(item, bound) for name, item in value.items()}


def _items(given: dict[str, Any], bound: dict[str, Any]) -> dict[str, Any]:
    value = expand(given["value"], bound)
    return {f"{given['prefix']}{number}": value for number in range(given["count"])}


_TAGS: dict[str, Any] = {
    "$bytes": lambda given, _: base64.b64decode(given),
    "$int": lambda given, _: int(given),
    "$number": lambda given, _: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[given],
    "$repeat": lambda given, _: given[0] * given[1],
    "$concat": lambda given, bound: "".join(expand(part, bound) for part in given),
    "$keys": lambda given, _: [f"{given[0]}{number}" for number in range(given[1])],
    "$keys_sorted": lambda given, _: sorted(f"{given[0]}{n}" for n in range(given[1])),
    "$params": lambda given, _: {f"{given[0]}{n}": given[2] for n in range(given[1])},
    "$items": _items,
    "$raw": lambda given, _: given,
    "$callable": lambda given, _: lambda: given,
    "$set": lambda given, _: set(given),
    "$datetime": lambda given, _: datetime.fromisoformat(given),
    "$date": lambda given, _: date.fromisoformat(given),
    "$time": lambda given, _: time.fromisoformat(given),
    "$uuid": lambda given, _: UUID(given),
    "$decimal": lambda given, _: Decimal(given),
    "$opaque": lambda given, _: object(),
    "$own_form": lambda given, _: OwnForm(given),
}


def same(expected: Any, actual: Any) -> bool:
    """Equality of values, in which 1 is not true, and a text is not bytes."""
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, dict) and isinstance(actual, dict):
        names = expected.keys() == actual.keys()
        return names and all(same(value, actual[name]) for name, value in expected.items())
    if isinstance(expected, list) and isinstance(actual, (list, tuple)):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    return bool(expected == actual) and isinstance(expected, bytes) == isinstance(actual, bytes)


def _number(value: Any) -> float:
    found = seconds(value)
    if found is not None:
        return found
    if not isinstance(value, (int, float)):
        raise Mismatch(f"{value!r} is not a number")
    return float(value)


def _matcher(tag: str, given: Any, actual: Any, place: str, bound: dict[str, Any]) -> None:
    if tag == "$between":
        low, high = (_number(each) for each in given)
        if not low - _CLOSE <= _number(actual) <= high + _CLOSE:
            raise Mismatch(f"{place}: {actual!r} is not between {given[0]} and {given[1]}")
        return
    fits = {
        "$any": lambda: actual not in (None, ""),
        "$not": lambda: not same(expand(given, bound), actual),
        "$has": lambda: actual is not None and expand(given, bound) in actual,
        "$begins": lambda: isinstance(actual, str) and actual.startswith(given),
        "$exactly": lambda: same(expand(given, bound), {} if actual is None else actual),
    }[tag]()
    if not fits:
        raise Mismatch(f"{place}: {_short(actual)} does not fit {tag} {_short(given)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def match(expected: Any, actual: Any, place: str, bound: dict[str, Any]) -> None:
    """Raises `Mismatch` unless a result is as expected: a map names some of the fields."""
    if isinstance(expected, dict) and len(expected) == 1:
        ((tag, given),) = expected.items()
        if tag in ("$between", "$any", "$not", "$has", "$begins", "$exactly"):
            return _matcher(
                tag, expand(given, bound) if tag == "$between" else given, actual, place, bound
            )
    field = place.rpartition(".")[2]
    expected_time = seconds(expected) if field in TIMES else None
    if expected_time is not None:
        return _matcher("$between", [expected, expected], actual, place, bound)
    if field == "class":
        # A class and those that it extends.
        if expected not in (actual or ()):
            raise Mismatch(f"{place}: {_short(actual)} does not have {expected}")
        return None
    if field == "value" or not isinstance(expected, dict) or _is_tagged(expected):
        wanted = expand(expected, bound)
        if isinstance(wanted, list) and any(isinstance(item, dict) for item in wanted):
            return _match_list(wanted, actual, place, bound)
        if not same(wanted, actual):
            raise Mismatch(f"{place}: {_short(actual)}, not {_short(wanted)}")
        return None
    if not isinstance(actual, dict):
        raise Mismatch(f"{place}: {_short(actual)} has no fields")
    for name, item in expected.items():
        match(item, actual.get(name), f"{place}.{name}", bound)
    return None


def _match_list(wanted: list[Any], actual: Any, place: str, bound: dict[str, Any]) -> None:
    if not isinstance(actual, (list, tuple)) or len(actual) != len(wanted):
        raise Mismatch(f"{place}: {_short(actual)}, not {_short(wanted)}")
    for number, (one, other) in enumerate(zip(wanted, actual, strict=True)):
        match(one, other, f"{place}.{number}", bound)


def _is_tagged(value: dict[str, Any]) -> bool:
    return len(value) == 1 and (next(iter(value)) in _TAGS or "$var" in value)


def match_step(expected: dict[str, Any], actual: Any, bound: dict[str, Any]) -> None:
    """Checks the result of a step. Results of several calls are a list or a map by key."""
    if not isinstance(actual, list) and "results" not in (actual or {}):
        return match(expected, actual, "result", bound)
    every = actual if isinstance(actual, list) else list(actual["results"].values())
    for name, item in expected.items():
        if name == "count":
            match(item, len(every), "count", bound)
        elif name == "all":
            for number, one in enumerate(every):
                match(item, one, f"result {number}", bound)
        elif name == "matching":
            for group in item:
                fitting = sum(1 for one in every if fits(group["of"], one, bound))
                match(group["count"], fitting, f"number of {group['of']}", bound)
        elif name == "results":
            match(item, actual["results"], "results", bound)
        else:
            raise ValueError(f"no expectation {name} of several results")
    return None


def fits(expected: Any, actual: Any, bound: dict[str, Any]) -> bool:
    """Whether a result is as expected."""
    try:
        match(expected, actual, "result", bound)
    except Mismatch:
        return False
    return True
