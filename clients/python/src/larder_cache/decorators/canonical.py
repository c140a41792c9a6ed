"""Canonical JSON of the values of arguments, so that equal calls have equal keys in all languages.

Numbers and text are as in RFC 8785, names are sorted by their UTF-8, and there is no white space.
Types that JSON lacks are objects with one tag, such as ``{"$bytes":"AQI="}``.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

#: Deepest nesting of an argument. It also ends values that contain themselves.
MAX_DEPTH = 64

_TAGS = frozenset({"$bytes", "$datetime", "$date", "$time", "$uuid", "$decimal", "$set"})


class NotCanonical(ValueError):
    """A value that has no canonical form. ``path`` leads to it, such as ``[0].name``."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def canonical(value: object) -> str:
    """The canonical JSON of a value.

    Raises NotCanonical for a value that cannot be part of a key, such as an open connection.
    """
    return _encode(value, "", 0)


def _encode(value: object, path: str, depth: int) -> str:
    # The exact types come first: they are nearly all arguments.
    kind = type(value)
    if kind is str:
        return _text(value, path)  # type: ignore[arg-type]
    if kind is int:
        return str(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if depth > MAX_DEPTH:
        raise NotCanonical(f"it is nested deeper than {MAX_DEPTH} levels", path)
    own_form = getattr(kind, "__larder_key__", None)
    if own_form is not None:
        return _encode(own_form(value), path, depth + 1)
    if isinstance(value, Enum):
        return _encode(value.value, path, depth + 1)
    if isinstance(value, str):
        return _text(str.__str__(value), path)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return number(value, path)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _tagged("$bytes", base64.b64encode(value).decode("ascii"))
    return _tagged_scalar(value) or _container(value, path, depth)


def _tagged_scalar(value: object) -> str | None:
    text = plain_text(value)
    if text is None:
        return None
    # datetime is a subclass of date, so it is asked for first.
    for kind, tag in (
        (datetime, "$datetime"),
        (date, "$date"),
        (time, "$time"),
        (UUID, "$uuid"),
        (Decimal, "$decimal"),
    ):
        if isinstance(value, kind):
            return _tagged(tag, text)
    return None


def plain_text(value: object) -> str | None:
    """The text of a date, a time, a UUID or a decimal, else None."""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    return None


def _container(value: object, path: str, depth: int) -> str:
    if isinstance(value, Mapping):
        return _map(value, path, depth)
    if isinstance(value, Set):
        members = sorted(_encode(item, f"{path}{{}}", depth + 1) for item in value)
        return '{"$set":[' + ",".join(members) + "]}"
    if isinstance(value, Sequence):
        return (
            "["
            + ",".join(_encode(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
            + "]"
        )
    fields = _fields(value)
    if fields is None:
        raise NotCanonical(_refusal(value), path)
    return _object(fields, path, depth)


def _map(value: Mapping[Any, Any], path: str, depth: int) -> str:
    for name in value:
        if not isinstance(name, str):
            raise NotCanonical(
                f"its key {name!r} is of the type {type(name).__name__}, not text", path
            )
    if len(value) == 1 and next(iter(value)) in _TAGS:
        # Such a map would have the form of another type, hence the key of another call.
        raise NotCanonical(f"a map with the only name {next(iter(value))!r} is reserved", path)
    return _object(value, path, depth)


def _object(fields: Mapping[str, Any], path: str, depth: int) -> str:
    parts = [
        _text(name, path) + ":" + _encode(fields[name], f"{path}.{name}", depth + 1)
        for name in sorted(fields)
    ]
    return "{" + ",".join(parts) + "}"


def _fields(value: object) -> Mapping[str, Any] | None:
    """The fields of a record: a dataclass, a pydantic model, a msgspec struct or attrs class."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(kind)}
    for names in (
        getattr(kind, "model_fields", None),
        getattr(kind, "__struct_fields__", None),
    ):
        if isinstance(names, (Mapping, tuple)):
            return {name: getattr(value, name) for name in names}
    attributes = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return {a.name: getattr(value, a.name) for a in attributes}
    return None


def _refusal(value: object) -> str:
    if isinstance(value, Callable):  # type: ignore[arg-type]
        return f"a function or class ({type(value).__name__}) cannot be part of a key"
    return (
        f"a value of the type {type(value).__module__}.{type(value).__qualname__} cannot be part "
        "of a key: leave the argument out with ignore, or give the type a method __larder_key__"
    )


def _text(value: str, path: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        reason = "it has half of a surrogate pair, which UTF-8 cannot hold"
        raise NotCanonical(reason, path) from None
    return json.dumps(value, ensure_ascii=False)


def _tagged(tag: str, text: str) -> str:
    return "{" + json.dumps(tag) + ":" + json.dumps(text, ensure_ascii=False) + "}"


def number(value: float, path: str = "") -> str:
    """A float as ECMAScript writes it (RFC 8785, section 3.2.2.3): ``1.0`` is ``1``."""
    value = float(value)
    if not math.isfinite(value):
        raise NotCanonical(f"{value} is not a finite number", path)
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.<digits> times ten to this power.
    power = len(whole) + int(exponent or 0)
    if whole.strip("0") == "":
        power -= len(fraction) - len(fraction.lstrip("0")) + len(whole)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= power <= 21:
        return sign + digits + "0" * (power - count)
    if 0 < power <= 21:
        return sign + digits[:power] + "." + digits[power:]
    if -6 < power <= 0:
        return sign + "0." + "0" * -power + digits
    scientific = power - 1
    head = digits if count == 1 else digits[0] + "." + digits[1:]
    return f"{sign}{head}e{'+' if scientific > 0 else '-'}{abs(scientific)}"
