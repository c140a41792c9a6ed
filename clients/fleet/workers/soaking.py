"""Values that prove themselves, and what the Python workers of the soak note."""

from __future__ import annotations

import collections
import json
import random
import sys
import time
import zlib
from typing import Any

from larder_cache import LarderError

KEYS = 400
# Relative frequencies of the calls.
CALLS = {
    "get": 30,
    "near": 25,
    "fetch": 30,
    "many": 5,
    "fetch_many": 4,
    "set": 8,
    "set_many": 2,
    "touch": 2,
    "delete": 2,
    "increment": 3,
    "invalidate": 2,
}
_NAMES, _WEIGHTS = list(CALLS), list(CALLS.values())


class Boom(Exception):
    """The error of a loader."""


def some_call() -> str:
    """The next call."""
    return random.choices(_NAMES, _WEIGHTS)[0]


def some_key() -> str:
    """Few keys are asked for often."""
    return f"k{int(KEYS * random.random() ** 2)}"


def some_keys() -> list[str]:
    """Keys of a batch."""
    return list({some_key() for _ in range(20)})


_sequence = 0


def value_of(key: str, writer: str) -> dict[str, Any]:
    """A value with its key and a checksum, as all workers write and check it."""
    global _sequence
    _sequence += 1
    plain = f"{key}|{writer}|{_sequence}"
    return {"key": key, "writer": writer, "seq": _sequence, "sum": zlib.crc32(plain.encode())}


def proved(key: str, value: Any) -> bool:
    """Whether the value was computed for the key."""
    try:
        plain = f"{key}|{value['writer']}|{value['seq']}"
        return bool(value["key"] == key and value["sum"] == zlib.crc32(plain.encode()))
    except (KeyError, TypeError):
        return False


class Notes:
    """What happened."""

    def __init__(self) -> None:
        self.calls = collections.Counter(dict.fromkeys(CALLS, 0))
        self.raised: list[str] = []
        self.wrong: list[str] = []
        self.causes: collections.Counter[str] = collections.Counter()
        self.hits = self.degraded = self.refused = self.booms = 0
        self.longest = 0.0
        self.slowest = ""
        self.left: dict[str, Any] = {}
        self.ending = False

    def read(self, key: str, result: Any) -> None:
        """A read was answered."""
        if result.degraded:
            self.degraded += 1
            error = result.error
            self.causes[getattr(error, "reason", "") or getattr(error, "code", "server")] += 1
        if result.found:
            self.hits += 1
            if not proved(key, result.value) and len(self.wrong) < 100:
                self.wrong.append(f"{key}: {result!r}")

    def done(self, call: str, began: float) -> None:
        """A call is over."""
        self.calls[call] += 1
        took = time.monotonic() - began
        if took > self.longest:
            self.longest, self.slowest = took, call

    def failed(self, call: str, error: Exception) -> None:
        """A call raised: some may."""
        if isinstance(error, Boom) and call in ("fetch", "fetch_many"):
            self.booms += 1
        elif (
            isinstance(error, LarderError)
            and error.outage
            and call in ("delete", "increment", "invalidate")
        ):
            self.refused += 1
        elif len(self.raised) < 100:
            self.raised.append(f"{call}: {error!r}")

    def report(self) -> str:
        """JSON for the script."""
        names = ("calls", "raised", "wrong", "hits", "degraded", "refused", "longest", "slowest")
        return json.dumps({name: getattr(self, name) for name in (*names, "causes", "left")})


def callers() -> int:
    """How many callers the script asks for."""
    count: int = json.loads(sys.argv[1])["callers"]
    return count
