"""Test doubles of a client of Redis, in the memory of the process."""

from __future__ import annotations

import fnmatch
import re
import threading
import time
from collections.abc import Callable
from typing import Any


class MockRedis:
    """The commands that caches use, with texts as values and a clock that tests can set.

    Values end as in Redis: after the seconds of ``setex`` and ``expire``. It has no bound.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[str, float | None]] = {}
        self._lock = threading.Lock()

    def _live(self, key: str) -> tuple[str, float | None] | None:
        entry = self._entries.get(key)
        if entry is not None and entry[1] is not None and entry[1] <= self._clock():
            del self._entries[key]
            return None
        return entry

    def ping(self) -> bool:
        """Always True."""
        return True

    def get(self, key: str) -> str | None:
        """The value, or None."""
        with self._lock:
            entry = self._live(key)
            return None if entry is None else entry[0]

    def set(self, key: str, value: Any, ex: float | None = None, nx: bool = False) -> bool | None:
        """Stores a value, for ``ex`` seconds. None with ``nx`` if there is one."""
        with self._lock:
            if nx and self._live(key) is not None:
                return None
            ends = None if ex is None else self._clock() + float(ex)
            self._entries[key] = (value if isinstance(value, str) else str(value), ends)
        return True

    def setex(self, key: str, seconds: float, value: Any) -> bool:
        """Stores a value for some seconds. Raises ValueError unless they are positive."""
        if float(seconds) <= 0:
            raise ValueError(f"seconds must be positive, not {seconds!r}")
        return bool(self.set(key, value, ex=seconds))

    def delete(self, *keys: str) -> int:
        """Deletes keys. How many there were."""
        with self._lock:
            found = [key for key in keys if self._live(key) is not None]
            for key in found:
                del self._entries[key]
        return len(found)

    def exists(self, *keys: str) -> int:
        """How many of the keys there are."""
        with self._lock:
            return sum(self._live(key) is not None for key in keys)

    def keys(self, pattern: str = "*") -> list[str]:
        """The keys that match a pattern."""
        matches = re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match
        with self._lock:
            return [key for key in list(self._entries) if matches(key) and self._live(key)]

    def ttl(self, key: str) -> int:
        """The seconds that a key has; -1 without an end, -2 if there is none."""
        with self._lock:
            entry = self._live(key)
            if entry is None:
                return -2
            return -1 if entry[1] is None else round(entry[1] - self._clock())

    def expire(self, key: str, seconds: float) -> bool:
        """Sets the end of a key. Whether there is one."""
        with self._lock:
            entry = self._live(key)
            if entry is not None:
                self._entries[key] = (entry[0], self._clock() + float(seconds))
        return entry is not None

    def incr(self, key: str, amount: int = 1) -> int:
        """Adds to a counter, which begins at 0. Raises ValueError if it is not an integer."""
        with self._lock:
            entry = self._live(key)
            value = int(entry[0] if entry else "0") + amount
            self._entries[key] = (str(value), entry[1] if entry else None)
        return value

    def dbsize(self) -> int:
        """The number of keys."""
        return len(self.keys())

    def flushdb(self) -> bool:
        """Deletes all."""
        with self._lock:
            self._entries.clear()
        return True

    def info(self) -> dict[str, Any]:
        """Nothing that is measured: only the names that programs look for."""
        return {"used_memory_human": "0B", "keyspace_hits": 0, "keyspace_misses": 0}


class AsyncMockRedis:
    """`MockRedis` with coroutines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.blocking = MockRedis(clock)

    async def ping(self) -> bool:
        """Always True."""
        return True

    async def get(self, key: str) -> str | None:
        """The value, or None."""
        return self.blocking.get(key)

    async def set(
        self, key: str, value: Any, ex: float | None = None, nx: bool = False
    ) -> bool | None:
        """Stores a value, for ``ex`` seconds. None with ``nx`` if there is one."""
        return self.blocking.set(key, value, ex=ex, nx=nx)

    async def setex(self, key: str, seconds: float, value: Any) -> bool:
        """Stores a value for some seconds. Raises ValueError unless they are positive."""
        return self.blocking.setex(key, seconds, value)

    async def delete(self, *keys: str) -> int:
        """Deletes keys. How many there were."""
        return self.blocking.delete(*keys)

    async def exists(self, *keys: str) -> int:
        """How many of the keys there are."""
        return self.blocking.exists(*keys)

    async def keys(self, pattern: str = "*") -> list[str]:
        """The keys that match a pattern."""
        return self.blocking.keys(pattern)

    async def ttl(self, key: str) -> int:
        """The seconds that a key has; -1 without an end, -2 if there is none."""
        return self.blocking.ttl(key)

    async def expire(self, key: str, seconds: float) -> bool:
        """Sets the end of a key. Whether there is one."""
        return self.blocking.expire(key, seconds)

    async def incr(self, key: str, amount: int = 1) -> int:
        """Adds to a counter, which begins at 0. Raises ValueError if it is not an integer."""
        return self.blocking.incr(key, amount)

    async def flushdb(self) -> bool:
        """Deletes all."""
        return self.blocking.flushdb()
