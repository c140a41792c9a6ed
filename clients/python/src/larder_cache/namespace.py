"""A namespace of the blocking client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NoReturn, SupportsIndex, TypeVar, overload

from larder_cache._engine import fetching, fetching_many, operations, reads, watching, writes
from larder_cache._engine.drive import drive
from larder_cache._engine.handle import Handle
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.durations import Duration, Forever
from larder_cache.events import Event
from larder_cache.names import Key
from larder_cache.results import (
    Deleted,
    Incremented,
    Invalidated,
    ListedKey,
    Loaded,
    NotStored,
    Patched,
    Result,
    Stored,
    Touched,
)

T = TypeVar("T")
V = TypeVar("V")
K = TypeVar("K", bound="str | Key")

__all__ = ["Namespace"]


class Namespace(Generic[T]):
    """The entries of a namespace. `Client.namespace` makes it."""

    __slots__ = ("__weakref__", "_handle")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "a Namespace cannot be copied to another process: make a client there, "
            "and its namespace"
        )

    @property
    def name(self) -> str:
        """The name that is sent."""
        return self._handle.name

    @overload
    def get(
        self,
        key: str,
        *,
        type: type[V],
        params: Mapping[str, str] | None = None,
        max_stale: Duration | None = None,
        consistent: bool = False,
        touch: Duration | None = None,
    ) -> Result[V]: ...
    @overload
    def get(
        self,
        key: str,
        *,
        params: Mapping[str, str] | None = None,
        max_stale: Duration | None = None,
        consistent: bool = False,
        touch: Duration | None = None,
        type: Any = None,
    ) -> Result[T]: ...
    def get(
        self,
        key: str,
        *,
        params: Mapping[str, str] | None = None,
        max_stale: Duration | None = None,
        consistent: bool = False,
        touch: Duration | None = None,
        type: Any = None,
    ) -> Result[Any]:
        """Reads one entry. At an outage it is a `Miss`, unless `on_error` is `raise`.

        `max_stale` bounds how long a value may be past its TTL. `consistent` reads from the store,
        past near caches. `touch` makes a hit fresh for that long from now.
        """
        handle = self._handle
        if handle.near is not None and not (params or consistent or type) and touch is None:
            kept = handle.near.store.take(handle, (key, None), handle.codec)
            if kept is not None:
                return kept  # type: ignore[no-any-return]
        return drive(reads.get(handle, key, params, max_stale, consistent, touch, type))

    def set(
        self,
        key: str,
        value: T,
        *,
        ttl: Duration | Forever | None = None,
        tags: Iterable[str] = (),
        params: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_present: bool = False,
        if_version: str | None = None,
    ) -> Stored | NotStored:
        """Stores one value. At an outage it is `NotStored`, unless `on_error` is `raise`.

        A `ttl` of zero or less deletes the entry. At most one condition can be given.
        """
        return drive(
            writes.set(
                self._handle, key, value, ttl, tags, params, if_absent, if_present, if_version
            )
        )

    def delete(
        self,
        key: str,
        *,
        params: Mapping[str, str] | None = None,
        if_version: str | None = None,
        hold_off: Duration | None = None,
        return_value: bool = False,
    ) -> Deleted:
        """Removes one entry. Raises `LarderError` at an outage.

        `hold_off` refuses fills of computed values for that long. With `return_value`, `removed` is
        what was there.
        """
        return drive(writes.delete(self._handle, key, params, if_version, hold_off, return_value))

    @overload
    def get_many(
        self,
        keys: Iterable[K],
        *,
        type: type[V],
        max_stale: Duration | None = None,
        consistent: bool = False,
        touch: Duration | None = None,
    ) -> dict[K, Result[V]]: ...
    @overload
    def get_many(
        self,
        keys: Iterable[K],
        *,
        max_stale: Duration | None = None,
        consistent: bool = False,
        touch: Duration | None = None,
        type: Any = None,
    ) -> dict[K, Result[T]]: ...
    def get_many(
        self,
        keys: Iterable[Any],
        *,
        max_stale: Duration | None = None,
        consistent: bool = False,
        touch: Duration | None = None,
        type: Any = None,
    ) -> dict[Any, Result[Any]]:
        """Reads many entries, in calls of 1,000. Keys are `str` or `Key`."""
        return drive(reads.get_many(self._handle, keys, max_stale, consistent, touch, type))

    def set_many(
        self,
        items: Mapping[K, T] | Iterable[tuple[K, T]],
        *,
        ttl: Duration | Forever | None = None,
        tags: Iterable[str] = (),
    ) -> dict[K, Stored | NotStored]:
        """Stores many values. Each has its own result."""
        return drive(writes.set_many(self._handle, items, ttl, tags))

    def delete_many(self, keys: Iterable[K]) -> dict[K, Deleted]:
        """Removes many entries. Raises `LarderError` at an outage."""
        return drive(writes.delete_many(self._handle, keys))

    def contains(self, key: str, *, params: Mapping[str, str] | None = None) -> bool:
        """Whether there is a fresh value. The value is not transferred."""
        return drive(reads.contains(self._handle, key, params))

    def touch(
        self,
        key: str,
        ttl: Duration | Forever | None = None,
        *,
        params: Mapping[str, str] | None = None,
    ) -> Touched:
        """Gives a fresh entry a new TTL from now, which must be positive."""
        return drive(writes.touch(self._handle, key, ttl, params))

    def increment(
        self,
        key: str,
        delta: int = 1,
        *,
        initial: int = 0,
        ttl: Duration | Forever | None = None,
        if_present: bool = False,
        params: Mapping[str, str] | None = None,
    ) -> Incremented:
        """Adds to a counter. Raises `LarderError` at an outage.

        A missing counter begins at `initial`, with `ttl`; with `if_present` it stays missing.
        """
        return drive(writes.increment(self._handle, key, delta, initial, ttl, if_present, params))

    def patch(
        self,
        key: str,
        merge: Any = None,
        *,
        json_patch: list[Any] | None = None,
        if_version: str | None = None,
        ttl: Duration | Forever | None = None,
        keep_ttl: bool = False,
        params: Mapping[str, str] | None = None,
    ) -> Patched:
        """Changes a part of a JSON value. Raises `LarderError` at an outage.

        `merge` is a JSON Merge Patch (RFC 7396), `json_patch` a JSON Patch (RFC 6902).
        """
        return drive(
            writes.patch(self._handle, key, merge, json_patch, if_version, ttl, keep_ttl, params)
        )

    @overload
    def get_or_fetch(
        self,
        key: str,
        loader: Callable[[], Loaded[V]],
        *,
        ttl: Duration | Forever | None = None,
        tags: Iterable[str] = (),
        params: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        refresh: bool = False,
        max_stale: Duration | None = None,
        type: Any = None,
    ) -> Result[V]: ...
    @overload
    def get_or_fetch(
        self,
        key: str,
        loader: Callable[[], V],
        *,
        ttl: Duration | Forever | None = None,
        tags: Iterable[str] = (),
        params: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        refresh: bool = False,
        max_stale: Duration | None = None,
        type: Any = None,
    ) -> Result[V]: ...
    @overload
    def get_or_fetch(
        self,
        key: str,
        loader: None = None,
        *,
        ttl: Duration | Forever | None = None,
        tags: Iterable[str] = (),
        params: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        refresh: bool = False,
        max_stale: Duration | None = None,
        type: Any = None,
    ) -> Result[T]: ...
    def get_or_fetch(
        self,
        key: str,
        loader: Callable[[], Any] | None = None,
        *,
        ttl: Duration | Forever | None = None,
        tags: Iterable[str] = (),
        params: Mapping[str, str] | None = None,
        timeout: Duration | None = None,
        refresh: bool = False,
        max_stale: Duration | None = None,
        type: Any = None,
    ) -> Result[Any]:
        """Reads one entry, or computes it: once at a time, in the fleet and in the process.

        `loader` returns the value, or `Loaded`. Without it the server asks its origin. `timeout`
        bounds the wait for the computations of others; after it, this call computes by itself and
        does not store. `refresh` computes even if there is a value. Errors of the loader are raised
        as they are, unless there is a stale value.
        """
        return drive(
            fetching.get_or_fetch(
                self._handle, key, loader, ttl, tags, params, timeout, refresh, max_stale, type
            )
        )

    def get_or_fetch_many(
        self,
        keys: Iterable[K],
        loader: Callable[[list[K]], Mapping[K, Any]] | None = None,
        *,
        ttl: Duration | Forever | None = None,
        tags: Iterable[str] = (),
        timeout: Duration | None = None,
        refresh: bool = False,
        max_stale: Duration | None = None,
        type: Any = None,
    ) -> dict[K, Result[Any]]:
        """Reads many entries, and computes the missing ones with one call of the loader.

        `loader` gets the list of the missing keys, and returns a mapping of values or `Loaded`. A
        key that it leaves out is a `Miss`, and nothing is stored for it.
        """
        return drive(
            fetching_many.get_or_fetch_many(
                self._handle, keys, loader, ttl, tags, timeout, refresh, max_stale, type
            )
        )

    def invalidate(
        self,
        *,
        tags: Iterable[str] = (),
        globs: Iterable[str] = (),
        keys: Iterable[str | Key] = (),
        hold_off: Duration | None = None,
    ) -> Invalidated:
        """Invalidates entries by tag, by pattern and by key. Raises at an outage."""
        return drive(operations.invalidate(self._handle, tags, globs, keys, hold_off))

    def invalidate_namespace(self) -> Invalidated:
        """Invalidates all entries. Raises at an outage."""
        return drive(operations.invalidate_namespace(self._handle))

    def publish_event(self, name: str, attributes: Mapping[str, str] | None = None) -> Invalidated:
        """Invalidates what the rules of the server select for an event, in any namespace."""
        return drive(operations.publish_event(self._handle.engine, name, attributes))

    def list_keys(self, glob: str = "", *, page_size: int = 0) -> Iterator[ListedKey]:
        """The keys that match a pattern, or all; in no order, rarely twice."""
        token = ""
        while True:
            page, token = drive(operations.list_page(self._handle, glob, page_size, token))
            yield from page
            if not token:
                return

    def count_keys(self, glob: str = "") -> int:
        """The number of keys that match a pattern, or of all."""
        return drive(operations.count_keys(self._handle, glob))

    def watch(self, *, keys: bool = False) -> Iterator[Event]:
        """The changes in the namespace, without end; with `keys` also of single entries.

        It connects again by itself: after a `Reset`, changes may be missing until the next `Ready`.
        Closing the iterator ends it.
        """
        return watching.watch_blocking(self._handle, keys)

    def stats(self) -> pb.NamespaceStats:
        """The statistics of the namespace, of the whole fleet."""
        return drive(operations.namespace_stats(self._handle))

    def __repr__(self) -> str:
        return f"Namespace({self.name!r})"
