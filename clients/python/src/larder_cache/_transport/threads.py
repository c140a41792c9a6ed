"""The `Io` of the blocking client: calls block, and background work has threads."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Any

import grpc

from larder_cache._engine.drive import drive
from larder_cache._engine.io import Lead, Stopper, Work
from larder_cache._engine.streams import BlockingStream
from larder_cache._engine.thread_flights import ThreadFlights
from larder_cache._engine.timer import Timer
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport import forks
from larder_cache._transport.channels import (
    Renewal,
    channel_arguments,
    credentials,
    grpc_target,
    prepare_gevent,
)
from larder_cache._transport.methods import Method, can_be_made_again
from larder_cache._transport.stubs import Stubs, of_channel
from larder_cache._transport.tokens import Metadata
from larder_cache.errors import ClientClosed, Unavailable
from larder_cache.options import Options
from larder_cache.results import Result

# Seconds that calls on a channel have left when it is replaced.
_GRACE = 10.0
# Seconds that short calls have left before a fork ends them.
_CALLS_END = 0.2
# Seconds for which a fork waits until calls have noticed that it ended them.
_CALLS_ENDED = 1.0
# The least time in seconds for a call that is made again.
_SHORTEST = 0.001


class ThreadIo:
    """Blocking calls over one channel per process."""

    def __init__(self, options: Options, fake: Any = None) -> None:
        self._options = options
        self._fake = fake
        self.closed = False
        self._start()
        forks.on_fork(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._stubs: Stubs | None = None
        self._channel: grpc.Channel | None = None
        self._renewal = Renewal(self._options)
        self._flights = ThreadFlights()
        self._timer = Timer()
        self._background: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._running = 0
        self._streams: weakref.WeakSet[BlockingStream] = weakref.WeakSet()
        # The threads that are in calls.
        self._calling: set[int] = set()
        # Channels that were replaced, and are still in use.
        self._replaced: set[grpc.Channel] = set()
        self._closing = False
        self._closed_event = threading.Event()

    def before_fork(self) -> bool:
        """Ends the streams and the channels, with which a child process could hang.

        The parent process has new ones afterwards. Its calls under way are made again, if they can
        be.
        """
        # A signal handler can fork while its own thread holds the lock.
        locked = self._lock.acquire(timeout=_CALLS_ENDED)
        streams, channels = list(self._streams), set(self._replaced)
        if self._channel is not None:
            channels.add(self._channel)
        self._channel = self._stubs = None
        self._replaced.clear()
        if locked:
            self._lock.release()
        if not channels:
            return False
        for stream in streams:
            stream.interrupt()
        self._await_calls(_CALLS_END)
        for channel in channels:
            channel.close()
        self._await_calls(_CALLS_ENDED)
        return True

    def _await_calls(self, seconds: float) -> None:
        """Waits until other threads have left their calls."""
        deadline = time.monotonic() + seconds
        own = {threading.get_ident()}
        while self._calling - own and time.monotonic() < deadline:
            time.sleep(0.001)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Holds the lock, and not during a fork: nothing new may begin then."""
        deadline = time.monotonic() + forks.TAKES
        while True:
            forks.wait_until_over()
            with self._lock:
                if forks.under_way() and time.monotonic() < deadline:
                    continue
                yield
                return

    def open_stream(self, stream: BlockingStream, request: pb.WatchRequest, metadata: Any) -> Any:
        """Opens a stream of changes, which a fork interrupts."""
        stubs = self.stubs
        with self._opening():
            if self.closed:
                raise ClientClosed("the client is closed")
            self._streams.add(stream)
            if stubs is self._stubs:
                stream.call = stubs.cache.Watch(request, None, metadata)
            else:
                # A fork has closed the channel in between; the next attempt has another one.
                stream.call = ()
            return stream.call

    def forked(self) -> Any:
        """In a child process: nothing of the parent is used. Returns what must not be freed."""
        kept = (self._stubs, self._channel, self._replaced, self._timer)
        if not self.closed:
            self._start()
        return kept

    @property
    def stubs(self) -> Stubs:
        """The stubs of the channel of now. It is made at the first use."""
        stubs = self._stubs
        if stubs is None or (self._renewal.needed and self._renewal.due()):
            return self._open(stubs)
        return stubs

    def _open(self, seen: Stubs | None) -> Stubs:
        with self._opening():
            if self.closed:
                raise ClientClosed("the client is closed")
            current = self._stubs
            if current is not None and current is not seen:
                # Another thread was faster.
                return current
            old = self._channel
            if self._fake is not None:
                fakes: Stubs = self._fake.blocking_stubs()
                self._stubs = fakes
                return fakes
            prepare_gevent()
            forks.prepare(asyncio=False)
            target, arguments = grpc_target(self._options.target), channel_arguments(self._options)
            try:
                secret = credentials(self._options)
            except ValueError as error:
                if current is None:
                    raise
                self._renewal.failed(error)
                return current
            if secret is None:
                channel = grpc.insecure_channel(target, arguments)
            else:
                channel = grpc.secure_channel(target, secret, arguments)
            stubs = of_channel(channel)
            self._channel, self._stubs = channel, stubs
            if old is not None:
                self._replaced.add(old)
        if old is not None:
            closing = threading.Timer(_GRACE, self._close_replaced, (old,))
            closing.daemon = True
            closing.start()
        return stubs

    def _close_replaced(self, channel: grpc.Channel) -> None:
        with self._lock:
            self._replaced.discard(channel)
        channel.close()

    def reconnect(self) -> None:
        """The next call has a new connection. Calls under way keep the old one for a while."""
        stubs = self._stubs
        if stubs is not None and not self.closed:
            self._open(stubs)

    def connect(self, timeout: float) -> None:
        """Waits until the channel is connected. Raises `Unavailable`."""
        try:
            self.stubs  # noqa: B018
        except forks.EndedByFork as error:
            raise Unavailable(error.details()) from error
        if self._channel is None:
            return
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=timeout)
        except grpc.FutureTimeoutError:
            raise Unavailable(
                f"{self._options.target} cannot be reached within {timeout:g} s"
            ) from None
        finally:
            ready.cancel()

    async def invoke(
        self, method: Method, request: Any, timeout: float | None, metadata: Metadata
    ) -> Any:
        """One call."""
        me = threading.get_ident()
        began = time.monotonic()
        stubs = self._enter(me)
        try:
            call = getattr(stubs.cache, method.name)
            answer = call(request, timeout, metadata)
            return list(answer) if method.streams else answer
        except ValueError as error:
            if self.closed:
                raise ClientClosed("the client is closed") from error
            if stubs is self._stubs:
                raise
            # A fork in another thread has closed the channel before the call began.
        except grpc.RpcError as error:
            is_ended = error.code() is grpc.StatusCode.CANCELLED
            if not is_ended or stubs is self._stubs or self.closed:
                raise
            if not can_be_made_again(method, request):
                raise forks.EndedByFork from error
        finally:
            self._calling.discard(me)
        left = None if timeout is None else max(timeout - (time.monotonic() - began), _SHORTEST)
        return await self.invoke(method, request, left, metadata)

    def _enter(self, me: int) -> Stubs:
        """The stubs for a call. A fork waits for the calls that have begun, and no other begins."""
        calling = self._calling
        if self._renewal.needed:
            self.stubs  # noqa: B018
        while True:
            calling.add(me)
            stubs = self._stubs
            if stubs is not None:
                return stubs
            calling.discard(me)
            self.stubs  # noqa: B018

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)  # noqa: ASYNC251

    async def load(self, loader: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a loader of the user."""
        value = loader(*arguments)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError("the loader of a blocking client must not be a coroutine function")
        return value

    async def fly(self, key: Hashable, lead: Lead, timeout: float | None) -> Result[Any] | None:
        """Joins the flight of the key, or leads one."""
        return await self._flights.fly(key, lead, timeout)

    def forget(self, namespace: str, key: str | None) -> None:
        """Later calls do not join the flights of now."""
        self._flights.forget(namespace, key)

    def every(self, first: float, step: Callable[[], Awaitable[float | None]]) -> Stopper:
        """Runs `step` again and again on the thread of the timer."""
        return self._timer.every(first, step)

    def background(self, work: Work) -> bool:
        """Runs work in a thread, with a copy of the context."""
        with self._lock:
            if self.closed or self._running >= self._options.background_limit:
                return False
            self._running += 1
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=self._run_background,
            args=(context, work),
            name="larder-background",
            daemon=True,
        )
        self._background.add(thread)
        try:
            thread.start()
        except RuntimeError:
            # No more threads, or the interpreter ends.
            self._background_done()
            return False
        return True

    def _run_background(self, context: contextvars.Context, work: Work) -> None:
        try:
            context.run(lambda: drive(work()))
        finally:
            self._background_done()

    def _background_done(self) -> None:
        with self._lock:
            self._running -= 1

    async def detached(self, work: Work) -> None:
        """Runs the work here: a thread is not cancelled meanwhile."""
        await work()

    def begin_close(self) -> None:
        """No further call begins."""
        self.closed = True
        self._closed_event.set()

    def wait_closed(self, seconds: float) -> None:
        """Waits, or until the client is closed."""
        self._closed_event.wait(seconds)

    def close(self, timeout: float) -> None:
        """Ends the channel and the threads. Work in the background has `timeout` seconds left."""
        self.begin_close()
        with self._lock:
            if self._closing:
                return
            self._closing = True
        deadline = time.monotonic() + timeout
        self._timer.close()
        for thread in list(self._background):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        for stream in list(self._streams):
            stream.close()
        with self._lock:
            stubs, self._stubs, self._channel = self._stubs, None, None
            replaced = list(self._replaced)
            self._replaced.clear()
        for channel in replaced:
            channel.close()
        if stubs is not None:
            stubs.close()
