"""The near cache: values in the process, coherent by a feed of changes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

from larder_cache._engine.engine import Engine
from larder_cache._engine.feeds import Feed, read_asyncio, read_blocking
from larder_cache._engine.handle import Handle
from larder_cache._engine.near_store import NearStore, identity_of
from larder_cache._engine.reads import get_sent
from larder_cache._engine.streams import BlockingStream
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.methods import GET
from larder_cache.codecs import Codec
from larder_cache.errors import LarderError
from larder_cache.names import split_key
from larder_cache.near import NearCache
from larder_cache.results import NO_FACTS, Miss, Result

logger = logging.getLogger("larder_cache")

# Seconds between two attempts after an error that is no outage.
_LONG_PAUSE = 60.0
# Namespaces of a client that can have a near cache.
MAX_NEARS = 256


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

    def keep(self, ref: pb.KeyRef | pb.GetOrFetchRequest, answer: Any, mark: int) -> None:
        """Keeps a value that was read since the mark."""
        self.store.keep(identity_of(ref.key, ref.params), answer, mark)


class NearHub:
    """The near caches of a client."""

    def __init__(self, engine: Engine, blocking: bool) -> None:
        self._engine = engine
        self._blocking = blocking
        self._lock = threading.Lock()
        self._nears: dict[str, Near] = {}
        self._is_full = False

    def forked(self) -> None:
        """In a child process: all near caches are empty, and their feeds are to begin."""
        self._lock = threading.Lock()
        for near in self._nears.values():
            near.store = NearStore(near.store.settings)
            near.feeding = None

    def open(self, namespace: str, settings: NearCache) -> Near | None:
        """The near cache of a namespace. Its first handle decides on the bounds.

        Each has a feed, so that their number has a bound: None above it.
        """
        with self._lock:
            near = self._nears.get(namespace)
            if near is None:
                if len(self._nears) >= MAX_NEARS:
                    if not self._is_full:
                        self._is_full = True
                        logger.warning("no near cache for %s: there are %d", namespace, MAX_NEARS)
                    return None
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
        """Ends the feeds for good. Threads are waited for."""
        with self._lock:
            feedings = [near.feeding for near in self._nears.values() if near.feeding is not None]
            # A task that was cancelled keeps its call, and with it the connection.
            for near in self._nears.values():
                near.feeding = None
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
        except asyncio.CancelledError:
            # Kept by the task, it would keep the call, and with it the connection.
            return
        finally:
            store.reset()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
