"""A cache backend for Django.

For example:

    CACHES = {
        "default": {
            "BACKEND": "larder_cache.backends.django.LarderCache",
            "LOCATION": "larder:50051",
            "OPTIONS": {"namespace": "shop"},
        }
    }

The asynchronous methods use the asynchronous client, not threads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from larder_cache import FOREVER, FailedPrecondition, Loaded
from larder_cache.backends._clients import shared_async_client, shared_client
from larder_cache.backends._objects import Objects, Undecodable, note_undecodable
from larder_cache.backends._signing import Signer
from larder_cache.backends._storing import astore, astore_many, store, store_many

__all__ = ["LarderCache"]

# Options of Django for backends that evict by themselves. The server does that here.
_CULLING = ("MAX_ENTRIES", "CULL_FREQUENCY")


class LarderCache(BaseCache):
    """A namespace of Larder as a cache of Django.

    `LOCATION` is the server: `host:port`, several separated by commas, or a list; empty for
    `LARDER_ENDPOINT`. `OPTIONS` are

    - `namespace` ("django"): caches with the same namespace share entries and `clear`;
    - `secret`: signs pickled values; `SECRET_KEY` and `SECRET_KEY_FALLBACKS` by default;
    - `on_error` ("open"): "raise" raises when the server is away, instead of missing;
    - any option of `larder_cache.Client`, such as `preset` or `token`.

    A timeout of None is the longest that the server permits (7 days by default).
    """

    def __init__(self, location: Any, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = {k: v for k, v in params.get("OPTIONS", {}).items() if k not in _CULLING}
        self._target = _target(location)
        self._name = options.pop("namespace", "django")
        self._secret = options.pop("secret", None)
        self._client_options = options

    @cached_property
    def _objects(self) -> Objects:
        if self._secret is not None:
            return Objects(Signer(self._secret, self._name))
        secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return Objects(Signer(secrets, self._name, minimum=1))

    @cached_property
    def _namespace(self) -> Any:
        return shared_client(self._target, self._client_options).namespace(self._name)

    @cached_property
    def _async_namespace(self) -> Any:
        return shared_async_client(self._target, self._client_options).namespace(self._name)

    # === Translation ===

    def _made(self, key: str, version: int | None) -> str:
        made: Any = self.make_and_validate_key(key, version=version)
        return str(made)

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> Any:
        """The TTL of a timeout in seconds; `FOREVER` for None; at most 0: do not store."""
        if timeout == DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return FOREVER if timeout is None else timeout

    def _value(self, namespace: Any, key: str, result: Any, default: Any) -> Any:
        if not result.found:
            return default
        try:
            return self._objects.decode(key, result.value)
        except Undecodable as error:
            note_undecodable(namespace, error)
            return default

    def _keys(self, keys: Iterable[str], version: int | None) -> dict[str, str]:
        """Maps the keys as they are stored to those of the caller."""
        return {self._made(key, version): key for key in keys}

    def _values(
        self, namespace: Any, names: Mapping[str, str], results: Mapping[str, Any]
    ) -> dict[str, Any]:
        values = {}
        for key, result in results.items():
            value = self._value(namespace, key, result, self._missing_key)
            if value is not self._missing_key:
                values[names[key]] = value
        return values

    def _items(self, data: Mapping[str, Any], version: int | None) -> tuple[Any, Any]:
        names = self._keys(data, version)
        return names, {key: self._objects.encode(key, data[name]) for key, name in names.items()}

    # === Blocking methods ===

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Stores a value unless there is one; returns whether there was none."""
        key = self._made(key, version)
        encoded = self._objects.encode(key, value)
        ttl = self.get_backend_timeout(timeout)
        if _is_over(ttl):
            return not self._namespace.contains(key)
        return bool(store(self._namespace, key, encoded, ttl, if_absent=True))

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Returns a value, or the default."""
        key = self._made(key, version)
        namespace = self._namespace
        return self._value(namespace, key, namespace.get(key), default)

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Stores a value; a timeout that is over deletes it."""
        key = self._made(key, version)
        encoded = self._objects.encode(key, value)
        store(self._namespace, key, encoded, self.get_backend_timeout(timeout))

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Gives an entry a new timeout, or removes it; returns whether there was one."""
        key = self._made(key, version)
        ttl = self.get_backend_timeout(timeout)
        if _is_over(ttl):
            return bool(self._namespace.delete(key))
        return bool(self._namespace.touch(key, ttl))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Removes an entry; returns whether there was one. Raises if the server is away."""
        key = self._made(key, version)
        return bool(self._namespace.delete(key))

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Returns the values that are there."""
        names = self._keys(keys, version)
        namespace = self._namespace
        return self._values(namespace, names, namespace.get_many(list(names)))

    def has_key(self, key: str, version: int | None = None) -> bool:
        """Returns whether there is an entry, without reading its value."""
        key = self._made(key, version)
        return bool(self._namespace.contains(key))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Adds to an integer, atomically. Raises ValueError if there is none."""
        made = self._made(key, version)
        try:
            done = self._namespace.increment(made, delta, if_present=True)
        except FailedPrecondition as error:
            raise _not_countable(key, error) from error
        return _counted(key, done)

    def set_many(
        self,
        data: Mapping[str, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Stores values; returns the keys that were not stored."""
        names, items = self._items(data, version)
        ttl = self.get_backend_timeout(timeout)
        return _failed(names, store_many(self._namespace, items, ttl))

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        """Removes entries. Raises if the server is away."""
        self._namespace.delete_many(list(self._keys(keys, version)))

    # Django's own backends return True, too.
    def clear(self) -> bool:  # type: ignore[override]
        """Removes all entries of the namespace, at a cost that does not depend on their number.

        Raises if the server is away.
        """
        self._namespace.invalidate_namespace()
        return True

    def get_or_set(
        self, key: str, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """Returns a value; calls `default` if there is none, one caller at a time.

        All processes that miss wait for one of them. A value that cannot be stored is returned.
        """
        if not callable(default):
            return super().get_or_set(key, default, timeout=timeout, version=version)
        made = self._made(key, version)
        computed: list[Any] = []

        def load() -> Loaded[Any]:
            computed.append(default())
            return self._loaded(made, computed[-1], timeout)

        namespace = self._namespace
        result = namespace.get_or_fetch(made, load)
        if computed:
            return computed[-1]
        value = self._value(namespace, made, result, self._missing_key)
        if value is self._missing_key:
            # The stored value cannot be read: it is computed anew.
            namespace.get_or_fetch(made, load, refresh=True)
            return computed[-1]
        return value

    def _loaded(self, key: str, value: Any, timeout: Any) -> Loaded[Any]:
        ttl = self.get_backend_timeout(timeout)
        encoded = self._objects.encode(key, value)
        return Loaded(encoded, ttl=ttl)

    # === Asynchronous methods ===

    async def aadd(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """See `add`."""
        key = self._made(key, version)
        encoded = self._objects.encode(key, value)
        ttl = self.get_backend_timeout(timeout)
        if _is_over(ttl):
            return not await self._async_namespace.contains(key)
        return bool(await astore(self._async_namespace, key, encoded, ttl, if_absent=True))

    async def aget(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """See `get`."""
        key = self._made(key, version)
        namespace = self._async_namespace
        return self._value(namespace, key, await namespace.get(key), default)

    async def aset(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """See `set`."""
        key = self._made(key, version)
        encoded = self._objects.encode(key, value)
        await astore(self._async_namespace, key, encoded, self.get_backend_timeout(timeout))

    async def atouch(
        self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """See `touch`."""
        key = self._made(key, version)
        ttl = self.get_backend_timeout(timeout)
        if _is_over(ttl):
            return bool(await self._async_namespace.delete(key))
        return bool(await self._async_namespace.touch(key, ttl))

    async def adelete(self, key: str, version: int | None = None) -> bool:
        """See `delete`."""
        key = self._made(key, version)
        return bool(await self._async_namespace.delete(key))

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """See `get_many`."""
        names = self._keys(keys, version)
        namespace = self._async_namespace
        return self._values(namespace, names, await namespace.get_many(list(names)))

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        """See `has_key`."""
        key = self._made(key, version)
        return bool(await self._async_namespace.contains(key))

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """See `incr`."""
        made = self._made(key, version)
        try:
            done = await self._async_namespace.increment(made, delta, if_present=True)
        except FailedPrecondition as error:
            raise _not_countable(key, error) from error
        return _counted(key, done)

    async def aset_many(
        self,
        data: Mapping[str, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """See `set_many`."""
        names, items = self._items(data, version)
        ttl = self.get_backend_timeout(timeout)
        return _failed(names, await astore_many(self._async_namespace, items, ttl))

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        """See `delete_many`."""
        await self._async_namespace.delete_many(list(self._keys(keys, version)))

    async def aclear(self) -> bool:  # type: ignore[override]
        """See `clear`."""
        await self._async_namespace.invalidate_namespace()
        return True

    async def aget_or_set(
        self, key: str, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Any:
        """See `get_or_set`. `default` may be a coroutine function."""
        if not callable(default):
            return await super().aget_or_set(key, default, timeout=timeout, version=version)
        made = self._made(key, version)
        computed: list[Any] = []

        async def load() -> Loaded[Any]:
            computed.append(await _called(default))
            return self._loaded(made, computed[-1], timeout)

        namespace = self._async_namespace
        result = await namespace.get_or_fetch(made, load)
        if computed:
            return computed[-1]
        value = self._value(namespace, made, result, self._missing_key)
        if value is self._missing_key:
            # The stored value cannot be read: it is computed anew.
            await namespace.get_or_fetch(made, load, refresh=True)
            return computed[-1]
        return value


def _target(location: Any) -> str | None:
    if isinstance(location, str):
        return location.replace(";", ",") or None
    return ",".join(location) or None


def _is_over(ttl: Any) -> bool:
    return ttl is not FOREVER and ttl <= 0


async def _called(function: Callable[[], Any]) -> Any:
    value = function()
    return await value if inspect.isawaitable(value) else value


def _counted(key: str, done: Any) -> int:
    if done.value is None:
        raise ValueError(f"Key '{key}' not found")
    return int(done.value)


def _not_countable(key: str, error: FailedPrecondition) -> Exception:
    """The error of Python for what the server refuses to count."""
    if error.reason == "OVERFLOW":
        return OverflowError(f"the value of {key!r} would exceed 64 bits")
    return TypeError(f"the value of {key!r} is not an integer")


def _failed(names: Mapping[str, str], results: Mapping[str, Any]) -> list[str]:
    # A timeout that is over deletes: that is no failure.
    return [
        names[key] for key, result in results.items() if not result and result.reason != "EXPIRED"
    ]
