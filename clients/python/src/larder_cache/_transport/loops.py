"""The `Io` of the asyncio client: a channel and tasks per event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any

import grpc
import grpc.aio

from larder_cache._engine.io import Lead, Stopper, Work
from larder_cache._engine.task_flights import TaskFlights
from larder_cache._transport.channels import Renewal, channel_arguments, credentials, grpc_target
from larder_cache._transport.forks import on_fork
from larder_cache._transport.methods import Method
from larder_cache._transport.stubs import Stubs, of_channel
from larder_cache._transport.tokens import Metadata
from larder_cache.errors import ClientClosed, Unavailable
from larder_cache.options import Options
from larder_cache.results import Result

logger = logging.getLogger("larder_cache")
_GRACE = 10.0
# Seconds for which a fork waits for a loop of another thread.
_FORK_WAITS = 0.5
# Seconds for the calls that cancelled work makes, such as to give up a lease.
_LAST_CALLS = 1.0


class _Repeating:
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

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Options, fake: Any) -> None:
        self.loop = loop
        self._options = options
        self._fake = fake
        self.flights = TaskFlights(loop)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.background = 0
        self.streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self.interrupted: weakref.WeakSet[Any] = weakref.WeakSet()
        self.renewal = Renewal(options)
        self.channel: grpc.aio.Channel | None = None
        self._stubs: Stubs | None = None

    def _open(self) -> Stubs:
        if self._fake is not None:
            stubs: Stubs = self._fake.asyncio_stubs()
            return stubs
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

    def let_go(self) -> None:
        """Drops the channel, which closes it."""
        self.channel = self._stubs = None

    def let_go_before_fork(self) -> None:
        """Ends the channel without the loop, which may be running in this thread."""
        channel = self.channel
        self.let_go()
        if channel is None or self.loop.is_closed():
            return
        if self.loop.is_running() and self.loop is not _running_loop():
            self._end_in_its_thread(channel)
            return
        for stream in list(self.streams):
            self.interrupted.add(stream)
            stream.cancel()
        # The method of grpc.aio for this is a coroutine.
        inner = getattr(channel, "_channel", None)
        if inner is not None:
            inner.close()

    def _end_in_its_thread(self, channel: grpc.aio.Channel) -> None:
        async def end() -> None:
            for stream in list(self.streams):
                self.interrupted.add(stream)
                stream.cancel()
            await channel.close()

        ending = asyncio.run_coroutine_threadsafe(end(), self.loop)
        # A loop that is busy is not waited for.
        concurrent.futures.wait([ending], timeout=_FORK_WAITS)

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
        self._stubs = self._open()
        if old is not None:
            self.spawn(old.close(_GRACE))

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

    async def close(self) -> None:
        """Ends the streams and closes the channel."""
        for stream in list(self.streams):
            stream.cancel()
        if self.channel is not None:
            await self.channel.close()
        self.let_go()


class LoopIo:
    """Calls of the running loop, over a channel of that loop."""

    def __init__(self, options: Options, fake: Any = None) -> None:
        self._options = options
        self._fake = fake
        self.closed = False
        self._needs_renewal = Renewal(options).needed
        self._start()
        on_fork(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[asyncio.AbstractEventLoop, LoopState] = {}
        self._last: tuple[Any, LoopState | None] = (None, None)

    def before_fork(self) -> bool:
        """Lets go of the channels, with which a child process would hang.

        Calls under way fail. The next calls in the parent process make new channels.
        """
        states = list(self._states.values())
        for state in states:
            state.let_go_before_fork()
        return bool(states)

    def is_interrupted(self, stream: Any) -> bool:
        """Whether a fork has ended the stream."""
        return stream is not None and stream in self.state().interrupted

    def forked(self) -> Any:
        """In a child process: nothing of the parent is used. Returns what must not be freed."""
        kept = list(self._states.values())
        if not self.closed:
            self._start()
        return kept

    def state(self) -> LoopState:
        """The state of the running loop."""
        loop = asyncio.get_running_loop()
        last, state = self._last
        if last is loop and state is not None:
            return state
        return self._state_of(loop)

    def _state_of(self, loop: asyncio.AbstractEventLoop) -> LoopState:
        with self._lock:
            state = self._states.get(loop)
            if self.closed:
                # Work under way may end what it began, such as a lease.
                if state is not None:
                    return state
                raise ClientClosed("the client is closed")
            if state is None:
                # Loops that are closed cannot close their channels any more; they are dropped.
                for old in [each for each in self._states if each.is_closed()]:
                    del self._states[old]
                state = self._states[loop] = LoopState(loop, self._options, self._fake)
            self._last = (loop, state)
            return state

    @property
    def stubs(self) -> Stubs:
        """The stubs of the running loop."""
        return self.state().fresh_stubs() if self._needs_renewal else self.state().stubs

    def reconnect(self) -> None:
        """The next call of the running loop has a new connection."""
        if not self.closed and self.state().channel is not None:
            self.state().reconnect()

    async def connect(self, timeout: float) -> None:
        """Waits until the channel is connected. Raises `Unavailable`."""
        self.stubs  # noqa: B018
        channel = self.state().channel
        if channel is None:
            return
        try:
            await asyncio.wait_for(channel.channel_ready(), timeout)
        except asyncio.TimeoutError:
            raise Unavailable(
                f"{self._options.target} cannot be reached within {timeout:g} s"
            ) from None

    async def invoke(
        self, method: Method, request: Any, timeout: float | None, metadata: Metadata
    ) -> Any:
        """One call."""
        state = self.state()
        stubs = state.fresh_stubs() if self._needs_renewal else state.stubs
        call = getattr(stubs.cache, method.name)
        try:
            answer = call(request, timeout=timeout, metadata=metadata)
            if method.streams:
                return [message async for message in answer]
            return await answer
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            if self.closed and not _cancelling():
                raise ClientClosed("the client is closed") from error
            raise

    @staticmethod
    def cancelling() -> bool:
        """Whether the running task is being cancelled."""
        return _cancelling()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)

    async def load(self, loader: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a loader of the user: a plain function in a thread."""
        if inspect.iscoroutinefunction(loader) or inspect.iscoroutinefunction(
            getattr(loader, "__call__", None)  # noqa: B004
        ):
            return await loader(*arguments)
        context = contextvars.copy_context()
        call = functools.partial(context.run, loader, *arguments)
        value = await asyncio.get_running_loop().run_in_executor(None, call)
        return await value if inspect.isawaitable(value) else value

    async def fly(self, key: Hashable, lead: Lead, timeout: float | None) -> Result[Any] | None:
        """Joins the flight of the key, or leads one."""
        return await self.state().flights.fly(key, lead, timeout)

    def forget(self, namespace: str, key: str | None) -> None:
        """Later calls of all loops do not join the flights of now."""
        if self.closed:
            return
        for state in list(self._states.values()):
            state.flights.forget(namespace, key)

    def every(self, first: float, step: Callable[[], Awaitable[float | None]]) -> Stopper:
        """Runs `step` again and again in a task."""
        return _Repeating(self.state(), first, step)

    def background(self, work: Work) -> bool:
        """Runs work in a task, with a copy of the context."""
        state = self.state()
        if self.closed or state.background >= self._options.background_limit:
            return False
        state.background += 1

        async def run() -> None:
            try:
                await work()
            finally:
                state.background -= 1

        state.spawn(run())
        return True

    async def detached(self, work: Work) -> None:
        """Runs the work here, and again if it is cancelled as well.

        A loop that ends cancels all tasks once, and waits for these only.
        """
        for _ in range(3):
            try:
                return await work()
            except asyncio.CancelledError:
                continue

    async def close(self, timeout: float) -> None:
        """Ends the channel and the tasks of the running loop, and those of closed loops."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            states = list(self._states.items())
            self._last = (None, None)
        running = asyncio.get_running_loop()
        for loop, state in states:
            if loop is running:
                await self._close_state(loop, state, timeout)
            elif loop.is_running():
                closing = self._close_state(loop, state, timeout)
                asyncio.run_coroutine_threadsafe(closing, loop)
            else:
                del self._states[loop]

    async def _close_state(
        self, loop: asyncio.AbstractEventLoop, state: LoopState, timeout: float
    ) -> None:
        try:
            await state.end_tasks(timeout)
        finally:
            with self._lock:
                self._states.pop(loop, None)
            await state.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _cancelling() -> bool:
    """Whether the running task is being cancelled, which Python 3.10 does not report."""
    task = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)
    return cancelling is not None and cancelling() > 0
