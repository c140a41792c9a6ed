"""The calls of the replaced modules as calls of Larder, blocking and asynchronous.

As in those modules, no error reaches the caller: it is logged, and the answer is that of a cache
which is off. A failed invalidation is logged as an error, since old values stay.
"""

from __future__ import annotations

import logging
from typing import Any

from larder_cache import default_async_client, default_client
from larder_cache.codecs import Codec
from larder_cache.decorators._drive import settle
from larder_cache.decorators.codecs import OBJECT_CODEC
from larder_cache.errors import LarderError
from larder_cache.results import Miss, Result

from .adaptive_cache import note_update
from .old_keys import split, split_pattern

log = logging.getLogger("larder_cache")

#: Errors of a call: of the cache, and of keys, TTLs and values that it does not take.
ERRORS = (LarderError, ValueError, TypeError)


class OldStore:
    """The calls, as coroutines that never suspend for the blocking client."""

    def __init__(self, *, is_async: bool, codec: Codec = OBJECT_CODEC) -> None:
        self._is_async = is_async
        self._codec = codec

    @property
    def client(self) -> Any:
        """The client of the process."""
        return default_async_client() if self._is_async else default_client()

    def namespace(self, name: str) -> Any:
        """The handle of a namespace."""
        return self.client.namespace(name, codec=self._codec)

    async def read(self, key: str) -> Result[Any]:
        """The entry of a key; a Miss at an error."""
        try:
            name, rest = split(key)
            found: Result[Any] = await settle(self.namespace(name).get(rest))
        except ERRORS as error:
            log.warning("cache read failed for %r: %s", key, error)
            return Miss(None)
        return found

    async def set(self, key: str, value: Any, ttl: Any) -> bool:
        """Stores a value. Whether it is stored."""
        try:
            name, rest = split(key)
            stored = await settle(self.namespace(name).set(rest, value, ttl=ttl))
        except ERRORS as error:
            log.warning("cache write failed for %r: %s", key, error)
            return False
        return bool(stored)

    async def delete(self, key: str) -> bool | None:
        """Deletes a key. Whether there was an entry; None if it could not be deleted."""
        try:
            name, rest = split(key)
            deleted = await settle(self.namespace(name).delete(rest))
        except ERRORS as error:
            log.error("cache delete failed for %r, old values may stay: %s", key, error)
            return None
        note_update(f"{name}:{rest}")
        return bool(deleted.existed)

    async def contains(self, key: str) -> bool:
        """Whether there is a value."""
        try:
            name, rest = split(key)
            return bool(await settle(self.namespace(name).contains(rest)))
        except ERRORS as error:
            log.warning("cache read failed for %r: %s", key, error)
            return False

    async def delete_pattern(self, pattern: str) -> int:
        """Invalidates the keys that match. How many there were; 0 if it could not be done.

        The number is that of a moment before, and is 0 if the keys cannot be counted.
        """
        total = 0
        try:
            for name, glob in split_pattern(pattern):
                handle = self.namespace(name)
                total += await self._count(handle, glob)
                await settle(handle.invalidate(globs=[glob]))
                note_update(f"{name}:{glob}")
        except ERRORS as error:
            log.error("invalidation of %r failed, old values may stay: %s", pattern, error)
            return 0
        return total

    async def _count(self, handle: Any, glob: str) -> int:
        try:
            return int(await settle(handle.count_keys(glob)))
        except LarderError as error:
            log.warning("the keys that match %r could not be counted: %s", glob, error)
            return 0

    async def delete_namespace(self, name: str) -> bool:
        """Invalidates a namespace. Whether it is done."""
        try:
            await settle(self.namespace(name).invalidate_namespace())
        except ERRORS as error:
            log.error("invalidation of %r failed, old values may stay: %s", name, error)
            return False
        note_update(name)
        return True
