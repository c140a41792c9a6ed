"""Keys whose answers could not be stored a moment ago."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from larder_cache.decorators.calls import CallKey


class RecentKeys:
    """A bounded set of keys that forgets each after a few seconds.

    Requests for such a key do without a lease: otherwise they would compute one after another, each
    for itself. Above the bound the oldest key is forgotten.
    """

    def __init__(self, *, seconds: float = 10.0, limit: int = 1024) -> None:
        self._seconds = seconds
        self._limit = limit
        self._until: OrderedDict[tuple[str, frozenset[tuple[str, str]]], float] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: CallKey) -> None:
        """Remembers a key."""
        name = _name(key)
        with self._lock:
            self._until[name] = time.monotonic() + self._seconds
            self._until.move_to_end(name)
            if len(self._until) > self._limit:
                self._until.popitem(last=False)

    def has(self, key: CallKey) -> bool:
        """Whether the key was added a moment ago."""
        if not self._until:
            return False
        name = _name(key)
        with self._lock:
            until = self._until.get(name)
            if until is not None and until <= time.monotonic():
                del self._until[name]
                return False
            return until is not None

    def discard(self, key: CallKey) -> None:
        """Forgets a key."""
        with self._lock:
            self._until.pop(_name(key), None)


def _name(key: CallKey) -> tuple[str, frozenset[tuple[str, str]]]:
    return key.key, frozenset(key.params.items())
