"""Stubs of the fake, which are called as those of gRPC."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.testing._errors import FakeRpcError

if TYPE_CHECKING:
    from larder_cache.testing.fake import FakeLarder

HEARTBEAT = 5.0
STREAMS = {"BatchGet", "BatchGetOrFetch", "Watch"}


class NoAdmin:
    """The fake has no AdminService."""

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError("the fake has no AdminService")


class BlockingStub:
    """Stubs for threads: attributes named after the methods."""

    def __init__(self, fake: FakeLarder) -> None:
        for method in fake.methods:
            setattr(self, method, self._call(fake, method))
        self.Watch = lambda request, timeout=None, metadata=None: _BlockingWatch(
            fake, request, metadata
        )

    @staticmethod
    def _call(fake: FakeLarder, method: str) -> Any:
        def call(request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
            answer = fake.run_blocking(method, request, timeout, metadata)
            return iter(answer) if method in STREAMS else answer

        return call


class _BlockingWatch:
    def __init__(self, fake: FakeLarder, request: pb.WatchRequest, metadata: Any) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._fake = fake
        self._watch = fake.open_watch(request, metadata, self._queue.put)

    def __iter__(self) -> Iterator[pb.WatchResponse]:
        return self

    def __next__(self) -> pb.WatchResponse:
        try:
            message = self._queue.get(timeout=HEARTBEAT)
        except queue.Empty:
            return pb.WatchResponse(heartbeat=pb.Heartbeat(resume_token=b"fake"))
        if isinstance(message, FakeRpcError):
            self._fake.close_watch(self._watch)
            raise message
        answer: pb.WatchResponse = message
        return answer

    def cancel(self) -> None:
        self._fake.close_watch(self._watch)
        self._queue.put(FakeRpcError("CANCELLED", "Locally cancelled by application!"))


class AsyncioStub:
    """Stubs for tasks: attributes named after the methods."""

    def __init__(self, fake: FakeLarder) -> None:
        for method in fake.methods:
            setattr(self, method, self._call(fake, method))
        self.Watch = lambda request, timeout=None, metadata=None: _AsyncioWatch(
            fake, request, metadata
        )

    @staticmethod
    def _call(fake: FakeLarder, method: str) -> Any:
        def call(request: Any, timeout: float | None = None, metadata: Any = None) -> Any:
            running = fake.run_asyncio(method, request, timeout, metadata)
            return _stream(running) if method in STREAMS else running

        return call


async def _stream(running: Any) -> AsyncIterator[Any]:
    for message in await running:
        yield message


class _AsyncioWatch:
    def __init__(self, fake: FakeLarder, request: pb.WatchRequest, metadata: Any) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._fake = fake
        self._watch = fake.open_watch(request, metadata, self._put)

    def _put(self, message: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, message)

    async def read(self) -> Any:
        try:
            message = await asyncio.wait_for(self._queue.get(), HEARTBEAT)
        except asyncio.TimeoutError:
            return pb.WatchResponse(heartbeat=pb.Heartbeat(resume_token=b"fake"))
        if isinstance(message, FakeRpcError):
            self._fake.close_watch(self._watch)
            raise message
        return message

    def cancel(self) -> None:
        self._fake.close_watch(self._watch)
        self._put(FakeRpcError("CANCELLED", "Locally cancelled by application!"))
