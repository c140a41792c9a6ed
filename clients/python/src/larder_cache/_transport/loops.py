"""The `Io` of the asyncio client: a channel and tasks per event loop."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import grpc
import grpc.aio

from larder_cache._engine.io import Lead, Stopper, Work
from larder_cache._transport.channels import Renewal
from larder_cache._transport.forks import EndedByFork, on_fork
from larder_cache._transport.loop_calls import LoopStream
from larder_cache._transport.loop_state import LoopState, Repeating
from larder_cache._transport.methods import Method, can_be_made_again
from larder_cache._transport.stubs import Stubs
from larder_cache._transport.tokens import Metadata
from larder_cache.errors import ClientClosed, Unavailable
from larder_cache.options import Options
from larder_cache.results import Result

# Seconds for which a fork waits for the lock.
_LOCK_WAITS = 1.0
# The least time in seconds for a call that is made again.
_SHORTEST = 0.001


# Errors of a call that a fork has ended: parts of it are gone.
_ENDED = (RuntimeError, AttributeError)
_ENDS = (grpc.aio.UsageError, asyncio.CancelledError, *_ENDED)


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
        self._channel_lock = threading.Lock()
        self._states: dict[asyncio.AbstractEventLoop, LoopState] = {}
        self._last: tuple[Any, LoopState | None] = (None, None)

    def before_fork(self) -> bool:
        """Lets go of the channels, with which a child process would hang.

        The next calls in the parent process make new channels. Calls under way are made again, if
        they can be.
        """
        # A signal handler can fork while its own thread holds the lock.
        locked = self._lock.acquire(timeout=_LOCK_WAITS)
        states = list(self._states.values())
        if locked:
            self._lock.release()
        return any([state.end_before_fork() for state in states])

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
                state = self._states[loop] = LoopState(
                    loop, self._options, self._fake, self._channel_lock
                )
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
        if not state.ready:
            await state.opened()
        if self._needs_renewal:
            state.fresh_stubs()
        calls = state.calls
        answer: Any = None
        began = time.monotonic()
        try:
            # No variable holds the stubs: a fork could not end the channel otherwise.
            answer = getattr(state.stubs.cache, method.name)(
                request, timeout=timeout, metadata=metadata
            )
            calls.active.add(answer)
            return await (calls.all_of(answer) if method.streams else answer)
        except (*_ENDS, EndedByFork) as error:
            if calls.was_ended(answer) and not _cancelling():
                taken = calls.answer_of(answer)
                if taken is not None:
                    return taken
                ended: BaseException = error
            else:
                if isinstance(error, asyncio.CancelledError):
                    calls.note_cancelled()
                if self.closed and not isinstance(error, _ENDED) and not _cancelling():
                    raise ClientClosed("the client is closed") from error
                raise
        finally:
            calls.active.discard(answer)
        if not can_be_made_again(method, request):
            raise calls.error_of(answer) from ended
        left = None if timeout is None else max(timeout - (time.monotonic() - began), _SHORTEST)
        return await self.invoke(method, request, left, metadata)

    async def watch(self, request: Any, metadata: Metadata) -> LoopStream:
        """Opens a stream of changes, which a fork interrupts."""
        state = self.state()
        if not state.ready:
            await state.opened()
        return state.stream(state.stubs.cache.Watch(request, metadata=metadata))

    @staticmethod
    def cancelling() -> bool:
        """Whether the running task is being cancelled."""
        return _cancelling()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)

    async def load(self, loader: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a loader of the user: a plain function in a thread."""
        self.state().note_computing()
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
        return Repeating(self.state(), first, step)

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
            await state.end_computing()
            await state.end_tasks(timeout)
        finally:
            with self._lock:
                self._states.pop(loop, None)
            await state.close()


def _cancelling() -> bool:
    """Whether the running task is being cancelled, which Python 3.10 does not report."""
    task = asyncio.current_task()
    cancelling = getattr(task, "cancelling", None)
    return cancelling is not None and cancelling() > 0
