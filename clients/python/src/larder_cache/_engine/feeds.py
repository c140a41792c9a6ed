"""The feed of changes of a namespace: Watch, connected again whenever its stream ends."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from larder_cache._engine.drive import drive
from larder_cache._engine.engine import Engine
from larder_cache._engine.streams import BlockingStream
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.durations import to_seconds
from larder_cache.errors import LarderError, Unauthenticated, from_rpc
from larder_cache.events import (
    Event,
    KeysChanged,
    NamespaceInvalidated,
    PatternInvalidated,
    Ready,
    Reset,
    TagsInvalidated,
)
from larder_cache.results import ListedKey

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 3.0
# Seconds without any message before Ready after which a stream is given up.
_UNTIL_READY = 10.0


class Heartbeat:
    """The stream is alive."""


HEARTBEAT = Heartbeat()


class Feed:
    """The state of a feed: where it continues, and how long it may be silent."""

    def __init__(self, engine: Engine, namespace: str, keys: bool) -> None:
        self.engine = engine
        self._namespace = namespace
        self._keys = keys
        self._token = b""
        self.silence = _UNTIL_READY
        self.pause = _FIRST_PAUSE
        self._was_refused = False

    def request(self) -> pb.WatchRequest:
        """The request of the next stream."""
        self.silence = _UNTIL_READY
        return pb.WatchRequest(
            namespaces=[self._namespace], keys=self._keys, resume_token=self._token
        )

    def event(self, message: pb.WatchResponse) -> Event | Heartbeat:
        """The event of a message. One that this release lacks is a Reset."""
        kind = message.WhichOneof("event")
        if kind == "heartbeat":
            self._token = message.heartbeat.resume_token
            return HEARTBEAT
        if kind == "keys_changed":
            keys = tuple(ListedKey(e.key, e.params_digest) for e in message.keys_changed.keys)
            return KeysChanged(message.keys_changed.namespace, keys)
        if kind == "tags_invalidated":
            tags = message.tags_invalidated
            return TagsInvalidated(tags.namespace, tuple(tags.tags))
        if kind == "namespace_invalidated":
            return NamespaceInvalidated(message.namespace_invalidated.namespace)
        if kind == "pattern_invalidated":
            pattern = message.pattern_invalidated
            return PatternInvalidated(pattern.namespace, pattern.glob)
        if kind == "ready":
            ready = message.ready
            self._token = ready.resume_token
            heartbeat, max_delay = to_seconds(ready.heartbeat), to_seconds(ready.max_delay)
            self.silence = heartbeat + max_delay
            self.pause = _FIRST_PAUSE
            self._was_refused = False
            return Ready(ready.resumed, max_delay, heartbeat)
        self._token = b""
        if kind == "reset":
            name = pb.ResetReason.Name(message.reset.reason)
            return Reset(name.removeprefix("RESET_REASON_"))
        return Reset("UNKNOWN_EVENT")

    def ended(self, error: LarderError | None) -> float:
        """After the end of a stream: the seconds until the next. Raises at a mistake."""
        if error is not None and not error.outage and not self._can_have_another_token(error):
            raise error
        pause = self.pause * random.uniform(0.5, 1.0)
        self.pause = min(self.pause * 2, _LONGEST_PAUSE)
        if error is not None and error.retry_after is not None:
            pause = max(pause, min(error.retry_after, _LONGEST_PAUSE))
        return pause

    def _can_have_another_token(self, error: LarderError) -> bool:
        """Whether the token of a stream was refused, for the first time since the last Ready."""
        if not isinstance(error, Unauthenticated) or self._was_refused:
            return False
        self._was_refused = True
        return self.engine.metadatas.refused()


def read_blocking(feed: Feed, stream: BlockingStream) -> Iterator[Event | Heartbeat]:
    """The events, without end until the stream is closed. A broken stream is a Reset."""
    engine = feed.engine
    io: Any = engine.io

    async def check() -> float | None:
        call = stream.call
        if call and time.monotonic() - stream.last_message > feed.silence:
            call.cancel()
        return max(0.05, feed.silence / 4)

    watchdog = io.every(1.0, check)
    try:
        while not stream.closed and not io.closed:
            error: LarderError | None = None
            try:
                metadata = drive(engine.metadata())
                stream.last_message = time.monotonic()
                for message in io.open_stream(stream, feed.request(), metadata):
                    stream.last_message = time.monotonic()
                    yield feed.event(message)
                    if stream.closed:
                        return
            except grpc.RpcError as rpc_error:
                error = from_rpc(rpc_error)
            except LarderError as own_error:
                error = own_error
            finally:
                call, stream.call = stream.call, None
                if call:
                    call.cancel()
            if stream.closed or io.closed:
                return
            pause = feed.ended(error)
            yield Reset("DISCONNECTED")
            io.wait_closed(pause)
    finally:
        watchdog.stop()


class _Watchdog:
    """Cancels a stream that is silent for too long.

    `asyncio.wait_for` would do, but before Python 3.12 it can swallow the cancellation of the task.
    """

    def __init__(self, stream: Any, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream: Any = stream
        self.has_fired = False
        self._due = self._loop.time() + seconds
        self._handle = self._loop.call_at(self._due, self._check)

    def message(self, seconds: float) -> None:
        """After a message: the next one has so many seconds."""
        due = self._loop.time() + seconds
        if due < self._due:
            self._handle.cancel()
            self._handle = self._loop.call_at(due, self._check)
        self._due = due

    def _check(self) -> None:
        if self._loop.time() < self._due:
            self._handle = self._loop.call_at(self._due, self._check)
            return
        self.has_fired = True
        self._stream.end()

    def stop(self) -> None:
        """The stream has ended."""
        self._handle.cancel()
        self._stream = None


async def read_asyncio(feed: Feed) -> AsyncIterator[Event | Heartbeat]:
    """The events, without end. A broken stream is a Reset."""
    engine = feed.engine
    io: Any = engine.io
    while not io.closed:
        error: LarderError | None = None
        stream: Any = None
        watchdog: _Watchdog | None = None
        try:
            metadata = await engine.metadata()
            stream = await io.watch(feed.request(), metadata)
            watchdog = _Watchdog(stream, feed.silence)
            while True:
                message = await stream.read()
                if not isinstance(message, pb.WatchResponse):
                    # gRPC's mark of the end.
                    break
                event = feed.event(message)
                watchdog.message(feed.silence)
                yield event
        except grpc.RpcError as rpc_error:
            error = from_rpc(rpc_error)
        except LarderError as own_error:
            error = own_error
        except asyncio.CancelledError:
            # The end of the client, a fork and silence cancel the call; that of the task is another
            # matter.
            is_own = io.closed or (watchdog and watchdog.has_fired)
            is_own = is_own or (stream is not None and stream.was_interrupted)
            if not is_own or io.cancelling():
                raise
        finally:
            if watchdog is not None:
                watchdog.stop()
            if stream is not None:
                stream.end()
            # A stream that an exception keeps alive would keep its connection.
            stream = None
        if io.closed:
            return
        pause = feed.ended(error)
        yield Reset("DISCONNECTED")
        await asyncio.sleep(pause)
