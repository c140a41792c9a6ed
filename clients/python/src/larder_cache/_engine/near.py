"""The near cache: values in the process, coherent by a feed of changes."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from larder_cache._engine.engine import Engine
from larder_cache._engine.feeds import BlockingStream, Feed, Heartbeat, read_asyncio, read_blocking
from larder_cache._engine.globs import matcher
from larder_cache._engine.handle import HIT, Handle
from larder_cache._engine.reads import get_sent
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.methods import GET
from larder_cache.codecs import Codec
from larder_cache.durations import to_seconds
from larder_cache.errors import LarderError
from larder_cache.events import (
    Event,
    KeysChanged,
    NamespaceInvalidated,
    PatternInvalidated,
    Ready,
    Reset,
    TagsInvalidated,
)
from larder_cache.names import split_key
from larder_cache.near import NearCache
from larder_cache.results import NO_FACTS, Facts, Hit, Miss, Result

logger = logging.getLogger("larder_cache")

# What an entry takes besides its key and value.
_OVERHEAD = 400
# Changes that are remembered for reads under way; a read that is older is not kept.
_LOG = 4096
# Seconds between two attempts after an error that is no outage.
_LONG_PAUSE = 60.0

Identity = tuple[str, "frozenset[tuple[str, str]] | None"]


class _Entry:
    __slots__ = ("content", "expires", "facts", "key", "kind", "size", "written")

    def __init__(self, key: str, kind: Any, content: Any, facts: Facts, now: float) -> None:
        self.key = key
        self.kind = kind
        self.content = content
        self.facts = facts
        self.expires = now + facts.ttl_remaining
        self.written = now - facts.age
        self.size = len(content) + len(key) + _OVERHEAD


class NearStore:
    """The kept values of a namespace, and whether they may be used."""

    def __init__(self, settings: NearCache) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._entries: OrderedDict[Identity, _Entry] = OrderedDict()
        self._by_key: dict[str, set[Identity]] = {}
        self._bytes = 0
        self._log: deque[tuple[str, Any]] = deque(maxlen=_LOG)
        self._count = 0
        self._usable_until = 0.0
        self._silence = 0.0
        self._ready = False

    @property
    def usable(self) -> bool:
        """Whether all changes are known up to now."""
        if not self._ready:
            return False
        if time.monotonic() > self._usable_until:
            self.reset()
            return False
        return True

    def heard(self) -> None:
        """After any message of the feed."""
        self._usable_until = time.monotonic() + self._silence

    def take(self, handle: Handle, identity: Identity, codec: Codec) -> Result[Any] | None:
        """The kept value, or None."""
        now = time.monotonic()
        if not self._ready or now > self._usable_until:
            return None
        with self._lock:
            entry = self._entries.get(identity)
            if entry is None:
                return None
            if now >= entry.expires:
                self._remove(identity, entry)
                return None
            self._entries.move_to_end(identity)
        kind, content = entry.kind, entry.content
        try:
            value = content if kind is None else codec.decode(kind, content)
        except Exception as error:  # noqa: BLE001
            return handle.undecodable(error, entry.facts)
        counters = handle.counters
        counters.hits += 1
        counters.near_hits += 1
        return Hit(value, _NearFacts(entry, now))

    def mark(self) -> int | None:
        """The point in time of a read that begins now; None if its value cannot be kept."""
        return self._count if self.usable else None

    def keep(self, identity: Identity, answer: Any, mark: int) -> None:
        """Keeps the answer to a read that began at the mark, if nothing has changed it since."""
        if answer.outcome != HIT or answer.entry.tier != pb.TIER_STORE:
            return
        kind = answer.value.WhichOneof("kind")
        entry_info = answer.entry
        ttl = to_seconds(entry_info.ttl_remaining)
        if kind is None or ttl <= 0:
            return
        facts = Facts(
            entry_info.version, to_seconds(entry_info.age), ttl, tuple(entry_info.tags), "client"
        )
        key = identity[0]
        entry = _Entry(key, kind, getattr(answer.value, kind), facts, time.monotonic())
        if entry.size > self._settings.max_bytes // 2:
            return
        with self._lock:
            if not self._ready or self._changed(key, facts.tags, mark):
                return
            old = self._entries.pop(identity, None)
            if old is not None:
                self._bytes -= old.size
            self._entries[identity] = entry
            self._by_key.setdefault(key, set()).add(identity)
            self._bytes += entry.size
            limits = self._settings
            while len(self._entries) > limits.max_entries or self._bytes > limits.max_bytes:
                oldest = next(iter(self._entries))
                self._remove(oldest, self._entries[oldest])

    def _changed(self, key: str, tags: tuple[str, ...], mark: int) -> bool:
        since = self._count - mark
        if since > len(self._log):
            return True
        for index in range(len(self._log) - since, len(self._log)):
            if _names(self._log[index], key, tags):
                return True
        return False

    def _remove(self, identity: Identity, entry: _Entry) -> None:
        del self._entries[identity]
        self._bytes -= entry.size
        others = self._by_key.get(entry.key)
        if others is not None:
            others.discard(identity)
            if not others:
                del self._by_key[entry.key]

    def change(self, kind: str, what: Any) -> None:
        """Drops what a change names: `all`, a `key`, a set of `tags`, or a `glob` as a matcher."""
        with self._lock:
            self._log.append((kind, what))
            self._count += 1
            if kind == "key":
                for identity in list(self._by_key.get(what, ())):
                    self._remove(identity, self._entries[identity])
            elif kind == "all":
                self._clear()
            else:
                named = [
                    (identity, entry)
                    for identity, entry in self._entries.items()
                    if _names((kind, what), entry.key, entry.facts.tags)
                ]
                for identity, entry in named:
                    self._remove(identity, entry)

    def _clear(self) -> None:
        self._entries.clear()
        self._by_key.clear()
        self._bytes = 0

    def reset(self) -> None:
        """Drops everything, and keeps nothing until the next Ready."""
        with self._lock:
            self._ready = False
            self._log.append(("all", None))
            self._count += 1
            self._clear()

    def apply(self, event: Event | Heartbeat) -> None:
        """Applies an event of the feed."""
        if isinstance(event, KeysChanged):
            for each in event.keys:
                self.change("key", each.key)
        elif isinstance(event, TagsInvalidated):
            self.change("tags", frozenset(event.tags))
        elif isinstance(event, PatternInvalidated):
            self.change("glob", matcher(event.glob))
        elif isinstance(event, NamespaceInvalidated):
            self.change("all", None)
        elif isinstance(event, Reset):
            self.reset()
        elif isinstance(event, Ready):
            if not event.resumed:
                self.reset()
            self._silence = event.heartbeat + event.max_delay
            self.heard()
            self._ready = True
        self.heard()

    def __len__(self) -> int:
        return len(self._entries)


class _NearFacts(Facts):
    """Facts with the age and TTL of the moment of the read."""

    __slots__ = ()

    def __new__(cls, entry: _Entry, now: float) -> Any:
        facts = entry.facts
        return Facts(facts.version, now - entry.written, entry.expires - now, facts.tags, "client")


def _names(change: tuple[str, Any], key: str, tags: tuple[str, ...]) -> bool:
    kind, what = change
    if kind == "key":
        return bool(what == key)
    if kind == "tags":
        return not what.isdisjoint(tags)
    if kind == "glob":
        return bool(what(key))
    return True


def identity_of(key: str, params: Mapping[str, str] | None) -> Identity:
    """What identifies an entry in its namespace."""
    return key, frozenset(params.items()) if params else None


class Near:
    """The near cache of a namespace, as its handles use it."""

    def __init__(self, hub: NearHub, namespace: str, settings: NearCache) -> None:
        self._hub = hub
        self.namespace = namespace
        self.store = NearStore(settings)
        self.feeding: Any = None

    async def get(
        self, handle: Handle, request: pb.GetRequest, codec: Codec, consistent: bool
    ) -> Result[Any]:
        """Reads one entry."""
        identity = identity_of(request.key, request.params)
        store = self.store
        if not consistent:
            kept = store.take(handle, identity, codec)
            if kept is not None:
                return kept
        self._hub.feed(self)
        mark = store.mark()
        if mark is None:
            return await get_sent(handle, request, codec)
        request.consistency = pb.CONSISTENCY_STORE
        try:
            answer = await handle.engine.rpc(GET, request, handle.timeout, handle.counters)
        except LarderError as error:
            if handle.opened(error):
                handle.counters.misses += 1
                return Miss(None, NO_FACTS, degraded=True, error=error)
            raise
        store.keep(identity, answer, mark)
        return handle.result(codec, answer, answer.degraded)

    def take(
        self, handle: Handle, key: str, params: Mapping[str, str] | None, codec: Codec
    ) -> Result[Any] | None:
        """The kept value of a key, or None."""
        kept = self.store.take(handle, identity_of(key, params), codec)
        if kept is None:
            self._hub.feed(self)
        return kept

    def take_many(
        self, handle: Handle, keys: list[Any], codec: Codec, results: dict[Any, Result[Any]]
    ) -> list[Any]:
        """Puts the kept values into the results. Returns the other keys."""
        rest = []
        for key in keys:
            sent, params = split_key(key)
            kept = self.store.take(handle, identity_of(sent, params), codec)
            if kept is None:
                rest.append(key)
            else:
                results[key] = kept
        self._hub.feed(self)
        return rest

    def mark(self) -> int | None:
        """The point in time of a read that begins now."""
        return self.store.mark()

    def keep(self, ref: pb.KeyRef, answer: Any, mark: int) -> None:
        """Keeps a value that was read since the mark."""
        self.store.keep(identity_of(ref.key, ref.params), answer, mark)


class NearHub:
    """The near caches of a client."""

    def __init__(self, engine: Engine, blocking: bool) -> None:
        self._engine = engine
        self._blocking = blocking
        self._lock = threading.Lock()
        self._nears: dict[str, Near] = {}

    def forked(self) -> None:
        """In a child process: all near caches are empty, and their feeds are to begin."""
        self._lock = threading.Lock()
        for near in self._nears.values():
            near.store = NearStore(near.store._settings)
            near.feeding = None

    def open(self, namespace: str, settings: NearCache) -> Near:
        """The near cache of a namespace. Its first handle decides on the bounds."""
        with self._lock:
            near = self._nears.get(namespace)
            if near is None:
                near = self._nears[namespace] = Near(self, namespace, settings)
            return near

    def wrote(self, namespace: str, key: str | None) -> None:
        """After a write of this client: of a key, or of anything in the namespace."""
        near = self._nears.get(namespace)
        if near is not None:
            near.store.change("all" if key is None else "key", key)

    def feed(self, near: Near) -> None:
        """Begins the feed of a near cache, if it has none."""
        feeding = near.feeding
        if feeding is not None and feeding.alive():
            return
        with self._lock:
            feeding = near.feeding
            if (feeding is None or not feeding.alive()) and not self._engine.io.closed:
                near.store.reset()
                kind = _FeedThread if self._blocking else _FeedTask
                near.feeding = kind(self._engine, near)

    def close(self) -> None:
        """Ends the feeds. Threads are waited for."""
        with self._lock:
            feedings = [near.feeding for near in self._nears.values() if near.feeding is not None]
        for feeding in feedings:
            feeding.close()


class _FeedThread:
    """A thread that reads the feed of a near cache."""

    def __init__(self, engine: Engine, near: Near) -> None:
        self._feed = Feed(engine, near.namespace, True)
        self._near = near
        self._stream = BlockingStream()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="larder-near", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        store = self._near.store
        try:
            while not self._closed.is_set():
                try:
                    for event in read_blocking(self._feed, self._stream):
                        store.apply(event)
                    return
                except LarderError as error:
                    if self._closed.is_set() or self._feed.engine.io.closed:
                        return
                    logger.warning("near cache of %s is off: %s", self._near.namespace, error)
                    store.reset()
                    self._closed.wait(_LONG_PAUSE)
        finally:
            store.reset()

    def close(self) -> None:
        self._closed.set()
        self._stream.close()
        if self._thread is not threading.current_thread():
            self._thread.join(5.0)


class _FeedTask:
    """A task that reads the feed of a near cache, in the loop that was first to use it."""

    def __init__(self, engine: Engine, near: Near) -> None:
        io: Any = engine.io
        self._feed = Feed(engine, near.namespace, True)
        self._near = near
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] = io.state().spawn(self._run())

    def alive(self) -> bool:
        return not self._task.done() and not self._loop.is_closed()

    async def _run(self) -> None:
        store = self._near.store
        try:
            while True:
                try:
                    async for event in read_asyncio(self._feed):
                        store.apply(event)
                    return
                except LarderError as error:
                    logger.warning("near cache of %s is off: %s", self._near.namespace, error)
                    store.reset()
                    await asyncio.sleep(_LONG_PAUSE)
        finally:
            store.reset()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
