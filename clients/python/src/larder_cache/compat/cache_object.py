"""The object ``cache`` and the decorator ``cached`` of the replaced blocking module."""

from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from larder_cache import Client
from larder_cache.decorators._drive import drive
from larder_cache.decorators.cached import Decorator
from larder_cache.decorators.cached import cached as cached_function
from larder_cache.results import Loaded

from .function_keys import function_options
from .mock_redis import MockRedis
from .old_keys import split
from .settings import is_enabled, ttl_preset
from .store import ERRORS, OldStore

log = logging.getLogger("larder_cache")

T = TypeVar("T")

CACHE_TTL_SHORT = ttl_preset("SHORT")
CACHE_TTL_MEDIUM = ttl_preset("MEDIUM")
CACHE_TTL_LONG = ttl_preset("LONG")
CACHE_TTL_DAY = ttl_preset("DAY")

_store = OldStore(is_async=False)


class Cache:
    """A cache of JSON values whose calls never raise.

    Without ``client`` it is Larder, by the client of the process, unless REDIS_ENABLED or
    REDIS_CACHE_ENABLED is not ``true``. ``client`` can be a `MockRedis` or a client of Redis.
    """

    def __init__(self, client: Any = None) -> None:
        self._redis = client

    @property
    def client(self) -> Any:
        """The client that is used; None if caching is off."""
        if self._redis is not None:
            return self._redis
        return _store.client if is_enabled(default=True) else None

    def get(self, key: str) -> Any:
        """The value of a key; None if there is none, and at an error."""
        client = self.client
        if client is None:
            return None
        if isinstance(client, Client):
            return drive(_store.read(key), "cache.get").value_or(None)
        return _guarded("get", None, lambda: _decoded(client.get(key)))

    def set(self, key: str, value: Any, ttl: Any = 3600) -> bool:
        """Stores a value for ``ttl`` seconds. Whether it is stored."""
        client = self.client
        if client is None:
            return False
        if isinstance(client, Client):
            return drive(_store.set(key, value, ttl), "cache.set")
        return _guarded("set", False, lambda: bool(client.setex(key, ttl, json.dumps(value))))

    def delete(self, key: str) -> bool:
        """Deletes a key. False if it could not be deleted; the log has the reason."""
        client = self.client
        if client is None:
            return False
        if isinstance(client, Client):
            return drive(_store.delete(key), "cache.delete") is not None
        return _guarded("delete", False, lambda: client.delete(key) is not None)

    def exists(self, key: str) -> bool:
        """Whether there is a value."""
        client = self.client
        if client is None:
            return False
        if isinstance(client, Client):
            return drive(_store.contains(key), "cache.exists")
        return _guarded("exists", False, lambda: client.exists(key) > 0)

    def invalidate_pattern(self, pattern: str) -> int:
        """Invalidates the keys that match, such as ``user:*``. How many there were."""
        client = self.client
        if client is None:
            return 0
        if isinstance(client, Client):
            return drive(_store.delete_pattern(pattern), "cache.invalidate_pattern")
        return _guarded("invalidate_pattern", 0, lambda: _delete_matching(client, pattern))

    def stats(self) -> dict[str, Any]:
        """Entries (``keys``), their ``memory`` such as ``1.2M``, and ``hit_rate`` in percent.

        They are those of the whole cache since it began to count. Empty if caching is off, and at
        an error.
        """
        client = self.client
        if client is None:
            return {}
        if isinstance(client, Client):
            return _guarded("stats", {}, lambda: _stats(client))
        return {"keys": client.dbsize(), "memory": "0B", "hit_rate": 0.0}


cache = Cache()


def cached(ttl: Any = 3600, key_prefix: str = "", **options: Any) -> Decorator:
    """Caches what a function returns, under a key such as ``user:7`` for ``key_prefix="user"``.

    The key is that of the replaced decorator for arguments by position, however the call spells
    them: ``cache.delete("user:7")`` deletes the value of ``get_user(7)`` and of
    ``get_user(user_id=7)``. It also takes coroutine functions, methods, and the options of
    `larder_cache.decorators.cached`. A call with an argument that no key can hold is not cached;
    the log names the argument.
    """

    def decorate(function: Any) -> Any:
        return cached_function(ttl, **function_options(function, key_prefix, options))(function)

    return decorate


def get_with_lock(key: str, fetch_func: Callable[[], T], ttl: Any = 3600) -> T:
    """The value of a key, else that of ``fetch_func``, which runs once at a time in the fleet.

    Its errors are raised. Those of the cache are logged, and the function runs without it.
    """
    if cache.client is None:
        return fetch_func()
    has_begun = False

    def load() -> T:
        nonlocal has_begun
        has_begun = True
        return fetch_func()

    try:
        name, rest = split(key)
        result = _store.namespace(name).get_or_fetch(rest, load, ttl=ttl)
    except ERRORS as error:
        if has_begun:
            raise
        log.warning("cache read failed for %r: %s", key, error)
        return fetch_func()
    value: T = result.value if result.found else fetch_func()
    return value


def get_with_refresh(
    key: str, fetch_func: Callable[[], T], ttl: int = 3600, *, refresh_at: float = 0.1
) -> T:
    """As `get_with_lock`, but a value near its end is computed anew in the background.

    That is when less than the share ``refresh_at`` of ``ttl`` remains. At most 16 computations are
    waiting or under way in this process; above that, the value ends and the next call waits.
    """
    if not 0 < refresh_at < 1:
        raise ValueError(f"refresh_at must be between 0 and 1, not {refresh_at!r}")
    if cache.client is None:
        return fetch_func()
    found = drive(_store.read(key), "get_with_refresh")
    if not found.found:
        return get_with_lock(key, fetch_func, ttl)
    if found.ttl_remaining < ttl * refresh_at:
        _refreshes.start(key, functools.partial(_refresh, key, fetch_func, ttl))
    value: T = found.value
    return value


def _refresh(key: str, fetch_func: Callable[[], Any], ttl: int) -> None:
    name, rest = split(key)

    def load() -> Loaded[Any]:
        return Loaded(fetch_func(), ttl)

    _store.namespace(name).get_or_fetch(rest, load, refresh=True)


class _Refreshes:
    """Computations in the background: one per key, and a bounded number of them."""

    def __init__(self, limit: int = 16, threads: int = 4) -> None:
        self._limit = limit
        self._threads = threads
        self._keys: set[str] = set()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def start(self, key: str, work: Callable[[], None]) -> bool:
        """Begins a computation, unless there is one for the key or too many."""
        with self._lock:
            if key in self._keys or len(self._keys) >= self._limit:
                return False
            self._keys.add(key)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "larder-refresh")
            self._pool.submit(self._run, key, work)
        return True

    def _run(self, key: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # The value that is there stays until its end.
            log.warning("the refresh of %r failed", key, exc_info=True)
        finally:
            with self._lock:
                self._keys.discard(key)


_refreshes = _Refreshes()


def _guarded(call: str, otherwise: T, work: Callable[[], T]) -> T:
    try:
        return work()
    except (*ERRORS, OSError) as error:
        log.warning("cache.%s failed: %s", call, error)
        return otherwise


def _decoded(stored: Any) -> Any:
    return None if stored is None else json.loads(stored)


def _delete_matching(client: Any, pattern: str) -> int:
    keys = list(client.keys(pattern))
    return int(client.delete(*keys)) if keys else 0


def _stats(client: Client) -> dict[str, Any]:
    answer = client.stats()
    counted = answer.totals.total
    found = counted.hits + counted.stale + counted.negative
    reads = found + counted.misses
    return {
        "keys": sum(each.size.keys for each in answer.namespaces),
        "memory": _readable(sum(each.size.bytes for each in answer.namespaces)),
        "hit_rate": found / reads * 100 if reads else 0.0,
    }


def _readable(size: int) -> str:
    number, unit = float(size), "B"
    for larger in ("K", "M", "G", "T"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f}{unit}" if unit == "B" else f"{number:.1f}{unit}"


__all__ = [
    "CACHE_TTL_DAY",
    "CACHE_TTL_LONG",
    "CACHE_TTL_MEDIUM",
    "CACHE_TTL_SHORT",
    "Cache",
    "MockRedis",
    "cache",
    "cached",
    "get_with_lock",
    "get_with_refresh",
]
