"""Durations: numbers of seconds, `timedelta`, or text such as "5m"."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Final, Union

from google.protobuf.duration_pb2 import Duration as ProtoDuration

from larder_cache.errors import InvalidArgument

__all__ = ["FOREVER", "Duration", "Forever", "seconds", "to_proto", "to_seconds", "ttl_to_proto"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_CENTURY = 100 * 365 * 86400


class Forever:
    """The type of `FOREVER`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "FOREVER"

    def __reduce__(self) -> str:
        return "FOREVER"


FOREVER: Final = Forever()
"""The longest TTL that the server permits."""

Duration = Union[float, int, timedelta, str]
"""Seconds, a `timedelta`, or text such as `"90s"`, `"5m"` or `"1h30m"`."""


def seconds(value: Duration, name: str = "duration") -> float:
    """The seconds of a duration. `name` is the argument that an error names."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a duration, not {value!r}")
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidArgument(f"{name} must be finite, not {value!r}")
        return float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        text = value.strip().lower()
        parts = list(_PART.finditer(text))
        if not parts or "".join(part.group(0) for part in parts) != text:
            raise InvalidArgument(f'{name} must be such as "90s" or "1h30m", not {value!r}')
        return sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)
    raise TypeError(f"{name} must be a duration, not {type(value).__name__}")


def _proto(number: float) -> ProtoDuration:
    millis = min(int(number * 1000 + 1e-6), _CENTURY * 1000)
    return ProtoDuration(seconds=millis // 1000, nanos=millis % 1000 * 1_000_000)


def to_proto(value: Duration, name: str = "duration") -> ProtoDuration:
    """The wire form of a duration that is not negative."""
    number = seconds(value, name)
    if number < 0:
        raise InvalidArgument(f"{name} must not be negative, not {value!r}")
    return _proto(number)


def ttl_to_proto(
    value: Duration | Forever | None, name: str = "ttl"
) -> ProtoDuration | None | bool:
    """The wire form of a TTL: None for the default, False for one that has passed."""
    if value is None:
        return None
    if isinstance(value, Forever):
        return ProtoDuration(seconds=_CENTURY)
    number = seconds(value, name)
    if number <= 0:
        return False
    return _proto(max(number, 0.001))


def to_seconds(duration: ProtoDuration) -> float:
    """The seconds of a duration of the wire."""
    nanos = duration.nanos
    return duration.seconds + nanos / 1e9 if nanos else float(duration.seconds)
