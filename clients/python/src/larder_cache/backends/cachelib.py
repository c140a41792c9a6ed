"""A backend for cachelib, and with it for what takes a cachelib cache, such as Flask-Session.

For example:

    from larder_cache.backends.cachelib import LarderCache

    cache = LarderCache("larder:50051", namespace="shop", secret=SECRET)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from cachelib.base import BaseCache
from cachelib.serializers import BaseSerializer

from larder_cache import FOREVER, FailedPrecondition
from larder_cache.backends._clients import shared_client
from larder_cache.backends._globs import prefix_glob
from larder_cache.backends._objects import Objects, Undecodable, note_undecodable
from larder_cache.backends._signing import Secret, Signer
from larder_cache.backends._storing import store, store_many

__all__ = ["LarderCache"]

Timeout = int | float | timedelta | None


class LarderCache(BaseCache):
    """A namespace of Larder as a cache of cachelib.

    Values are pickled and signed with `secret` (at least 16 bytes, or a list of them of which the
    first signs). Another `serializer` of cachelib, such as `JSONSerializer()`, needs no secret.
    Integers are counters, which `inc` and `dec` change atomically.

    A timeout of 0 is the longest that the server permits (7 days by default); a negative one
    deletes. `key_prefix` begins all keys; `clear` then removes only entries with the prefix.
    `target` and `client_options` are those of `larder_cache.Client`, such as `on_error="raise"`.
    """

    def __init__(
        self,
        target: str | None = None,
        default_timeout: Timeout = 300,
        key_prefix: str | Callable[[], str] | None = None,
        ignore_delete_many_errors: bool = True,
        *,
        namespace: str = "cachelib",
        secret: Secret | None = None,
        serializer: BaseSerializer | None = None,
        **client_options: Any,
    ) -> None:
        # The base class of releases before 0.17 takes numbers only.
        super().__init__()
        self.default_timeout = _seconds(default_timeout)  # type: ignore[assignment]
        self.ignore_delete_many_errors = ignore_delete_many_errors
        self.key_prefix = key_prefix or ""
        self._signer = None if secret is None else Signer(secret, namespace)
        self.serializer = serializer
        self._namespace = shared_client(target, client_options).namespace(namespace)

    @property
    def serializer(self) -> BaseSerializer | None:
        """The serializer in place of pickle, or None."""
        return self._serializer

    @serializer.setter
    def serializer(self, serializer: BaseSerializer | None) -> None:
        if self._signer is None and (serializer is None or _unpickles(serializer)):
            raise ValueError(
                "pickled values are signed: set secret, or a serializer that does not pickle"
            )
        self._serializer = serializer
        self._objects = (
            Objects(self._signer)
            if serializer is None
            else Objects(self._signer, serializer.dumps, serializer.loads)
        )

    # === Translation ===

    def _prefix(self) -> str:
        return self.key_prefix if isinstance(self.key_prefix, str) else self.key_prefix()

    def _key(self, key: Any) -> str:
        if not isinstance(key, (str, int)):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        return f"{self._prefix()}{key}"

    def _ttl(self, timeout: Timeout) -> Any:
        seconds = self.default_timeout if timeout is None else _seconds(timeout)
        return FOREVER if seconds == 0 else seconds

    def _value(self, key: str, result: Any) -> Any:
        if not result.found:
            return None
        try:
            return self._objects.decode(key, result.value)
        except Undecodable as error:
            note_undecodable(self._namespace, error)
            return None

    # === The interface ===

    def get(self, key: str) -> Any:
        """Returns a value, or None."""
        made = self._key(key)
        return self._value(made, self._namespace.get(made))

    def get_many(self, *keys: str) -> list[Any]:
        """Returns a value or None for each key."""
        made = [self._key(key) for key in keys]
        results = self._namespace.get_many(made)
        return [self._value(key, results[key]) for key in made]

    def set(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Stores a value; returns whether it is stored."""
        made = self._key(key)
        encoded = self._objects.encode(made, value)
        return bool(store(self._namespace, made, encoded, self._ttl(timeout)))

    def add(self, key: str, value: Any, timeout: Timeout = None) -> bool:
        """Stores a value unless there is one; returns whether it is stored."""
        made = self._key(key)
        encoded = self._objects.encode(made, value)
        ttl = self._ttl(timeout)
        if ttl is not FOREVER and ttl < 0:
            return False
        return bool(store(self._namespace, made, encoded, ttl, if_absent=True))

    def set_many(self, mapping: Mapping[str, Any], timeout: Timeout = None) -> list[Any]:
        """Stores values; returns the keys that are stored."""
        made = {key: self._key(key) for key in mapping}
        items = {name: self._objects.encode(name, mapping[key]) for key, name in made.items()}
        results = store_many(self._namespace, items, self._ttl(timeout))
        return [key for key, name in made.items() if results[name]]

    def delete(self, key: str) -> bool:
        """Removes an entry; returns whether there was one. Raises if the server is away."""
        return bool(self._namespace.delete(self._key(key)))

    def delete_many(self, *keys: str) -> list[Any]:
        """Removes entries; returns the keys, none of which has an entry any more.

        Raises if the server is away, also with `ignore_delete_many_errors`: an entry that should be
        gone must not stay unnoticed.
        """
        self._namespace.delete_many([self._key(key) for key in keys])
        return list(keys)

    def has(self, key: str) -> bool:
        """Returns whether there is an entry, without reading its value."""
        return bool(self._namespace.contains(self._key(key)))

    def clear(self) -> bool:
        """Removes all entries, or those with the prefix. Raises if the server is away."""
        prefix = self._prefix()
        if prefix:
            self._namespace.invalidate(globs=[prefix_glob(prefix)])
        else:
            self._namespace.invalidate_namespace()
        return True

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Adds to a counter, atomically. A missing one begins at 0, with the default timeout.

        Raises if the server is away, and TypeError if the value is not an integer.
        """
        ttl = self._ttl(None)
        try:
            done = self._namespace.increment(self._key(key), delta, ttl=ttl)
        except FailedPrecondition as error:
            if error.reason == "OVERFLOW":
                raise OverflowError(f"the value of {key!r} would exceed 64 bits") from error
            raise TypeError(f"the value of {key!r} is not an integer") from error
        return done.value

    def dec(self, key: str, delta: int = 1) -> int | None:
        """Subtracts from a counter, as `inc` adds."""
        return self.inc(key, -delta)


def _seconds(timeout: Timeout) -> float:
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
        return timeout
    raise TypeError(f"timeout must be seconds or a timedelta, not {timeout!r}")


def _unpickles(serializer: BaseSerializer) -> bool:
    """Whether a serializer loads with a pickling method of cachelib: all but one of them are."""
    loads = getattr(type(serializer), "loads", None)
    owner = getattr(loads, "__qualname__", "").partition(".")[0]
    module = getattr(loads, "__module__", None)
    return module == "cachelib.serializers" and owner != "JSONSerializer"
