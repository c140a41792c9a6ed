"""A cache for aiocache.

For example:

    cache = LarderCache("larder:50051", larder_namespace="shop", namespace="users")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiocache.base import BaseCache, _ensure_key
from aiocache.serializers import JsonSerializer, PickleSerializer

from larder_cache import FOREVER, FailedPrecondition, NotStored
from larder_cache.backends._clients import shared_async_client
from larder_cache.backends._globs import prefix_glob
from larder_cache.backends._objects import note_undecodable
from larder_cache.backends._signing import BadSignature, Secret, Signer, is_pickled
from larder_cache.backends._storing import astore, astore_many

__all__ = ["LarderCache"]


class LarderCache(BaseCache):  # type: ignore[misc]
    """A namespace of Larder as a cache of aiocache.

    `target` and `client_options` are those of `larder_cache.AsyncClient`. `larder_namespace` is the
    namespace of the server; `namespace` is the prefix of keys that aiocache has. `secret` signs
    what serializers return as bytes; `PickleSerializer` needs it. The serializer is
    `JsonSerializer` by default. The other options are those of `aiocache.base.BaseCache`.

    No TTL, and a TTL of 0, are the longest that the server permits (7 days by default). `raw` is
    not supported.
    """

    NAME = "larder"

    def __init__(
        self,
        target: str | None = None,
        *,
        larder_namespace: str = "aiocache",
        secret: Secret | None = None,
        client_options: Mapping[str, Any] | None = None,
        serializer: Any = None,
        **options: Any,
    ) -> None:
        self._signer = None if secret is None else Signer(secret, larder_namespace)
        super().__init__(serializer=serializer or JsonSerializer(), **options)
        client = shared_async_client(target, client_options or {})
        self._namespace = client.namespace(larder_namespace)

    @property
    def serializer(self) -> Any:
        """The serializer of the values."""
        return self._serializer

    @serializer.setter
    def serializer(self, value: Any) -> None:
        if self._signer is None and isinstance(value, PickleSerializer):
            raise ValueError("pickled values are signed: set secret, or another serializer")
        self._serializer = value

    def _build_key(self, key: Any, namespace: str | None = None) -> str:
        prefix = self.namespace if namespace is None else namespace
        return f"{prefix}:{_ensure_key(key)}" if prefix else str(_ensure_key(key))

    # === Translation ===

    def _encode(self, key: str, value: Any) -> str | bytes:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, bytes):
            if self._signer is not None:
                return self._signer.seal(key, value)
            if is_pickled(value):
                raise ValueError("pickled values are signed: set secret, or another serializer")
            return value
        if isinstance(value, str):
            return value
        raise TypeError(f"the serializer must return text or bytes, not {type(value).__name__}")

    def _decode(self, key: str, result: Any, encoding: str | None) -> Any:
        value = result.value if result.found else None
        if value is None:
            return None
        try:
            if isinstance(value, bytes):
                payload = self._open(key, value)
                return payload if encoding is None else payload.decode(encoding)
            if isinstance(value, str) and encoding is not None:
                return value
            raise BadSignature(f"the value of {key!r} is not one of the serializer")
        except ValueError as error:
            note_undecodable(self._namespace, error)
            return None

    def _open(self, key: str, value: bytes) -> bytes:
        if self._signer is not None:
            return self._signer.open(key, value)
        if is_pickled(value):
            raise BadSignature(f"the value of {key!r} is a pickle without a signature")
        return value

    # === What the base class asks for ===

    async def _get(self, key: str, encoding: str | None = "utf-8", _conn: Any = None) -> Any:
        return self._decode(key, await self._namespace.get(key), encoding)

    async def _gets(self, key: str, encoding: str | None = "utf-8", _conn: Any = None) -> Any:
        """Returns a token for a later `_set`: the version."""
        return (await self._namespace.get(key)).version or None

    async def _multi_get(
        self, keys: Sequence[str], encoding: str | None = "utf-8", _conn: Any = None
    ) -> list[Any]:
        results = await self._namespace.get_many(keys)
        return [self._decode(key, results[key], encoding) for key in keys]

    async def _set(
        self, key: str, value: Any, ttl: Any = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        encoded = self._encode(key, value)
        if _cas_token is None:
            return bool(await astore(self._namespace, key, encoded, _ttl(ttl)))
        done = await self._namespace.set(key, encoded, ttl=_ttl(ttl), if_version=_cas_token)
        return bool(done)

    async def _multi_set(
        self, pairs: Iterable[Sequence[Any]], ttl: Any = None, _conn: Any = None
    ) -> bool:
        items = {key: self._encode(key, value) for key, value in pairs}
        results = await astore_many(self._namespace, items, _ttl(ttl))
        return all(results.values())

    async def _add(self, key: str, value: Any, ttl: Any = None, _conn: Any = None) -> bool:
        encoded = self._encode(key, value)
        done = await astore(self._namespace, key, encoded, _ttl(ttl), if_absent=True)
        if isinstance(done, NotStored) and done.reason == "CONDITION_NOT_MET":
            raise ValueError(f"Key {key} already exists, use .set to update the value")
        return bool(done)

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return bool(await self._namespace.contains(key))

    async def _increment(self, key: str, delta: int, _conn: Any = None) -> Any:
        try:
            done = await self._namespace.increment(key, delta, ttl=FOREVER)
        except FailedPrecondition as error:
            raise TypeError(f"the value of {key!r} is not an integer of 64 bits") from error
        return done.value

    async def _expire(self, key: str, ttl: Any, _conn: Any = None) -> bool:
        if ttl and ttl < 0:
            return bool(await self._delete(key))
        return bool(await self._namespace.touch(key, _ttl(ttl)))

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return int(bool(await self._namespace.delete(key)))

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        if namespace:
            await self._namespace.invalidate(globs=[prefix_glob(f"{namespace}:")])
        else:
            await self._namespace.invalidate_namespace()
        return True

    async def _raw(self, command: str, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("Larder has no raw commands; use larder_cache.AsyncClient")

    async def _redlock_release(self, key: str, value: Any) -> int:
        """Removes the entry of a lock if it has this value."""
        held = await self._namespace.get(key)
        if not held.found or held.value != self._encode(key, value):
            return 0
        return int(bool(await self._namespace.delete(key, if_version=held.version)))


def _ttl(ttl: Any) -> Any:
    return ttl or FOREVER
