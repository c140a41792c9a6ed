"""The state of an event loop: its channel, its calls and its tasks."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any

import grpc
import grpc.aio

from larder_cache._engine.task_flights import TaskFlights
from larder_cache._transport import forks
from larder_cache._transport.channels import Renewal, channel_arguments, credentials, grpc_target
from larder_cache._transport.loop_calls import Calls, LoopStream
from larder_cache._transport.stubs import Stubs, of_channel
from larder_cache.options import Options

logger = logging.getLogger("larder_cache")

# Seconds that calls on a channel have left when it is replaced.
_GRACE = 10.0
# Seconds that short calls have left before a fork in another thread ends them.
_CALLS_END = 0.2
# Seconds for which a fork waits for a loop of another thread.
_FORK_WAITS = 1.0
# Seconds between two looks at whether a fork is over.
_FORK_POLL = 0.002
# Seconds for the calls that cancelled work makes, such as to give up a lease.
_LAST_CALLS = 1.0


class Repeating:
    """Work of a loop that repeats. It has no task before it falls due."""

    def __init__(self, state: LoopState, first: float, step: Any) -> None:
        self._state = state
        self._step = step
        self._task: asyncio.Task[None] | None = None
        self._timer = state.loop.call_later(first, self._begin)

    def _begin(self) -> None:
        self._task = self._state.spawn(self._run())

    async def _run(self) -> None:
        wait = await self._step()
        while wait is not None:
            await asyncio.sleep(wait)
            wait = await self._step()

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


class LoopState:
    """The state of one event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: Options, fake: Any, lock: threading.Lock
    ) -> None:
        self.loop = loop
        self._options = options
        self._fake = fake
        self._lock = lock
        self.flights = TaskFlights(loop)
        self.calls = Calls(loop)
        self.tasks: set[asyncio.Task[Any]] = set()
        self._computing: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.background = 0
        self._streams: weakref.WeakSet[LoopStream] = weakref.WeakSet()
        self.renewal = Renewal(options)
        self.channel: grpc.aio.Channel | None = None
        self._stubs: Stubs | None = None
        # Channels that were replaced, and when they are closed.
        self._replaced: dict[grpc.aio.Channel, asyncio.TimerHandle] = {}
        self._is_forking = False
        self._until_end = self._close_at_end()
        # A generator of asyncio that has begun is one that the loop closes when it ends.
        try:
            self._until_end.__anext__().send(None)
        except StopIteration:
            pass

    async def _close_at_end(self) -> AsyncGenerator[None, None]:
        """Closes the channel at the end of the loop: `asyncio.run` closes all generators then.

        gRPC has one queue of events for all loops. Events of a loop that has ended are errors in
        the others.
        """
        try:
            yield
        finally:
            await self._close_channels()

    def _open(self) -> Stubs:
        if self._fake is not None:
            stubs: Stubs = self._fake.asyncio_stubs()
            return stubs
        deadline = time.monotonic() + forks.TAKES
        while True:
            forks.wait_until_over()
            with self._lock:
                if forks.under_way() and time.monotonic() < deadline:
                    continue
                return self._open_channel()

    def _open_channel(self) -> Stubs:
        forks.prepare(asyncio=True)
        target, arguments = grpc_target(self._options.target), channel_arguments(self._options)
        secret = credentials(self._options)
        if secret is None:
            self.channel = grpc.aio.insecure_channel(target, arguments)
        else:
            self.channel = grpc.aio.secure_channel(target, secret, arguments)
        return of_channel(self.channel)

    @property
    def stubs(self) -> Stubs:
        """The stubs of the channel of now. It is made at the first use."""
        stubs = self._stubs
        if stubs is None:
            stubs = self._stubs = self._open()
        return stubs

    @property
    def ready(self) -> bool:
        """Whether there is a channel, so that a call need not wait for one."""
        return self._stubs is not None and not self._is_forking

    async def opened(self) -> None:
        """Waits for a fork that is under way in another thread, which needs this loop."""
        deadline = self.loop.time() + forks.TAKES
        while forks.under_way() and self.loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_FORK_POLL)
        self._is_forking = False

    def let_go(self) -> list[grpc.aio.Channel]:
        """Drops the channels, and returns them."""
        channels = list(self._replaced)
        for timer in self._replaced.values():
            timer.cancel()
        self._replaced.clear()
        if self.channel is not None:
            channels.append(self.channel)
        self.channel = self._stubs = None
        return channels

    def end_before_fork(self) -> bool:
        """Ends calls and channels. Whether there were any. The loop may be running in this thread,
        or it may not run at all."""
        if self.channel is None and not self._replaced:
            return False
        if not self.loop.is_running() or self.loop is _running_loop():
            self._end_at_once()
            return True
        # No other call begins now, and short ones may end.
        deadline = time.monotonic() + _CALLS_END
        self._is_forking = True
        while len(self.calls.active) > len(self._streams) and time.monotonic() < deadline:
            time.sleep(_FORK_POLL)
        # A loop that is busy is not waited for for ever.
        ended, late = threading.Event(), threading.Event()

        def end() -> None:
            if not late.is_set():
                self._end_at_once()
                ended.set()

        try:
            self.loop.call_soon_threadsafe(end)
        except RuntimeError:
            # It was closed in this moment.
            self._end_at_once()
            return True
        if not ended.wait(_FORK_WAITS):
            late.set()
        return True

    def _end_at_once(self) -> None:
        channels = self.let_go()
        self.calls.end()
        for channel in channels:
            # The method of grpc.aio for this is a coroutine.
            inner = vars(channel).pop("_channel", None)
            if inner is not None:
                inner.close()

    def fresh_stubs(self) -> Stubs:
        """The stubs, of a new channel if the old one must be replaced."""
        if self._stubs is None:
            return self.stubs
        if self.renewal.due():
            self.reconnect()
        return self.stubs

    def reconnect(self) -> None:
        """The next call has a new connection. Calls under way keep the old one for a while."""
        old = self.channel
        try:
            self._stubs = self._open()
        except ValueError as error:
            if old is None:
                raise
            self.renewal.failed(error)
            return
        if old is not None:
            calls = weakref.WeakSet(self.calls.active)
            close = functools.partial(self._close_replaced, old, calls)
            self._replaced[old] = self.loop.call_later(_GRACE, close)

    def _close_replaced(self, old: grpc.aio.Channel, calls: Iterable[Any]) -> None:
        if self._replaced.pop(old, None) is not None:
            # Otherwise they would look as if their tasks were cancelled.
            self.calls.note_replaced(calls)
            self.spawn(old.close())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that is kept until it ends, and whose error is logged."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("work in the background failed", exc_info=error)

    async def end_tasks(self, timeout: float) -> None:
        """Ends the tasks. They have `timeout` seconds left, and those that they begin one."""
        own = asyncio.current_task()
        for patience in (timeout, _LAST_CALLS):
            tasks = [task for task in self.tasks if task is not own]
            if tasks and patience > 0:
                await asyncio.wait(tasks, timeout=patience)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def stream(self, call: Any) -> LoopStream:
        """A stream that ends with the channel."""
        stream = LoopStream(self.calls, call)
        self._streams.add(stream)
        return stream

    def note_computing(self) -> None:
        """The running task computes a value, and may have to give up its lease."""
        task = asyncio.current_task()
        if task is not None:
            self._computing.add(task)

    async def end_computing(self) -> None:
        """Waits for computations that are being cancelled, so that their leases are passed on."""
        own = asyncio.current_task()
        tasks = [
            task
            for task in self._computing
            if task is not own and not task.done() and _may_be_cancelling(task)
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_CALLS)

    async def close(self) -> None:
        """Ends the streams and closes the channels."""
        await self._close_channels()
        await self._until_end.aclose()

    async def _close_channels(self) -> None:
        for stream in list(self._streams):
            stream.end()
        for channel in self.let_go():
            await channel.close()
        await self.calls.settled()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _may_be_cancelling(task: asyncio.Task[Any]) -> bool:
    """Whether a task is being cancelled. Python 3.10 does not report it: it may be."""
    cancelling = getattr(task, "cancelling", None)
    return cancelling is None or cancelling() > 0
