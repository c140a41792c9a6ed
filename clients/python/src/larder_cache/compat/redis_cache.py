"""The asynchronous functions of the replaced module ``redis_cache``.

No error reaches the caller: it is logged, and the answer is that of a cache which is off.
`redis_client` can be patched with a `MockRedis`, which all functions then use.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from .mock_redis import AsyncMockRedis as MockRedis
from .old_keys import split
from .settings import REDIS_CACHE_TTL_CONFIG, is_enabled, ttl_of
from .store import ERRORS, OldStore

log = logging.getLogger("larder_cache")

_store = OldStore(is_async=True)


class LarderRedis:
    """The commands of Redis that programs of the replaced module use, on Larder."""

    async def get(self, key: str) -> str | None:
        """The value as JSON, or None."""
        found = await _store.read(key)
        return json.dumps(found.value) if found.found else None

    async def set(self, key: str, value: str, ex: Any = None) -> bool:
        """Stores JSON, for ``ex`` seconds or else the time of its namespace."""
        return await _store.set(key, _parsed(value), ex)

    async def setex(self, key: str, seconds: Any, value: str) -> bool:
        """Stores JSON for some seconds."""
        return await _store.set(key, _parsed(value), seconds)

    async def delete(self, *keys: str) -> int:
        """Deletes keys. How many there were."""
        return sum([bool(await _store.delete(key)) for key in keys])

    async def exists(self, *keys: str) -> int:
        """How many of the keys there are."""
        return sum([await _store.contains(key) for key in keys])

    async def ttl(self, key: str) -> int:
        """The seconds that a key has; -2 if there is none."""
        found = await _store.read(key)
        return round(found.ttl_remaining) if found.found else -2

    async def ping(self) -> bool:
        """Whether the cache answers. Raises LarderError if it does not."""
        await _store.client.connect()
        return True


redis_client: Any = LarderRedis()


async def get_cache(key: str) -> Any:
    """The value of a key such as ``cache:user:7:profile``; None if there is none."""
    if not is_enabled(default=True):
        return None
    if isinstance(redis_client, LarderRedis):
        return (await _store.read(key)).value_or(None)
    stored = await redis_client.get(key)
    return None if stored is None else json.loads(stored)


async def set_cache(key: str, value: Any, ttl: Any = None) -> bool:
    """Stores a value, by default for the time of its namespace. Whether it is stored."""
    if not is_enabled(default=True):
        return False
    try:
        seconds = ttl_of(split(key).namespace) if ttl is None else ttl
    except ERRORS as error:
        log.warning("cache write failed for %r: %s", key, error)
        return False
    if isinstance(redis_client, LarderRedis):
        return await _store.set(key, value, seconds)
    return bool(await redis_client.setex(key, seconds, json.dumps(value)))


async def invalidate(key: str) -> bool:
    """Deletes a key. Whether there was an entry."""
    if not is_enabled(default=True):
        return False
    if isinstance(redis_client, LarderRedis):
        return bool(await _store.delete(key))
    return bool(await redis_client.delete(key))


async def invalidate_pattern(pattern: str) -> int:
    """Invalidates the keys that match, such as ``cache:user:7:*``. How many there were."""
    if not is_enabled(default=True):
        return 0
    if isinstance(redis_client, LarderRedis):
        return await _store.delete_pattern(pattern)
    keys = await redis_client.keys(pattern)
    return int(await redis_client.delete(*keys)) if keys else 0


async def invalidate_namespace(namespace: str) -> bool:
    """Invalidates all keys of a namespace. Whether it is done."""
    if not is_enabled(default=True):
        return False
    if isinstance(redis_client, LarderRedis):
        return await _store.delete_namespace(namespace)
    from .settings import key_prefix

    await invalidate_pattern(f"{key_prefix()}:{namespace}:*")
    return True


async def invalidate_namespaces(namespaces: Iterable[str]) -> bool:
    """Invalidates several namespaces. Whether all are."""
    if isinstance(namespaces, str):
        raise TypeError(f"namespaces must be a list of names, such as [{namespaces!r}]")
    return all([await invalidate_namespace(name) for name in namespaces])


def _parsed(text: Any) -> Any:
    """The value of JSON text. Other text stays as it is."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


__all__ = [
    "REDIS_CACHE_TTL_CONFIG",
    "LarderRedis",
    "MockRedis",
    "get_cache",
    "invalidate",
    "invalidate_namespace",
    "invalidate_namespaces",
    "invalidate_pattern",
    "redis_client",
    "set_cache",
]
