"""The calls of an event loop that are under way, and how they end where the loop cannot run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import grpc.aio

from larder_cache._transport.forks import EndedByFork

T = TypeVar("T")

# Seconds that gRPC has to report the ends of streams, which takes a millisecond.
_REPORTS = 0.5
# The same for calls that were cancelled: whether gRPC is done with one of them cannot be seen.
_REPORTS_OF_CALLS = 0.02
_POLL = 0.001
# The task of gRPC that waits for the end of a stream.
_STATUS_TASK = "_handle_status_once_received"
# The attributes of a call that are tasks.
_INVOCATION = "_invocation_task"
_TASKS = (_INVOCATION, "_preparation")
# Seconds that single calls have for their answers before a fork ends them.
_ANSWERS = 0.1
_REPLACED = "the connection of the call was replaced and has ended"
# gRPC's object that hands events to loops.
_EVENT_QUEUE = "PollerCompletionQueue"


class Calls:
    """The calls of one loop, and the tasks that gRPC's objects live in.

    A fork has to end calls while the loop stands still: one of its tasks forks, or the loop does
    not run. So no frame of a task of the user may hold what belongs to a channel.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.active: set[Any] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended: weakref.WeakSet[Any] = weakref.WeakSet()
        self._replaced: weakref.WeakSet[Any] = weakref.WeakSet()
        # The futures by which gRPC reports the ends of streams.
        self._reports: weakref.WeakSet[Any] = weakref.WeakSet()
        self._answers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self._cancelled_at: float | None = None

    async def inner(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine of gRPC in a task of its own, which a fork can end."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        try:
            return await task
        except RuntimeError as error:
            if task in self._ended:
                raise EndedByFork from error
            raise
        finally:
            self._tasks.discard(task)

    async def all_of(self, stream: Any) -> list[Any]:
        """The messages of a short stream."""
        # An iterator of gRPC could not be ended by a fork.
        return await self.inner(_read_all(stream) if hasattr(stream, "read") else _iterate(stream))

    def was_ended(self, call: Any) -> bool:
        """Whether a fork has ended the call, or the end of a connection that was replaced."""
        return call in self._ended or call in self._replaced

    def error_of(self, call: Any) -> EndedByFork:
        """The error of a call that was ended."""
        return EndedByFork(_REPLACED) if call in self._replaced else EndedByFork()

    def note_replaced(self, calls: Iterable[Any]) -> None:
        """The connection of these calls ends now, which cancels those that are under way."""
        self._replaced.update(call for call in calls if call in self.active)

    def note_cancelled(self) -> None:
        """A call was cancelled, and gRPC has yet to report its end."""
        self._cancelled_at = self._loop.time()

    def note_read(self, call: Any) -> None:
        """A stream has begun: from now on it is known when gRPC is done with it."""
        for task in _status_tasks(self._loop, [call]):
            report = getattr(task, "_fut_waiter", None)
            if report is not None:
                self._reports.add(report)

    async def settled(self) -> None:
        """Waits until gRPC has reported the ends of calls: reports for a closed loop are errors."""
        began = self._loop.time()
        while self._reports and self._loop.time() < began + _REPORTS:  # noqa: ASYNC110
            await asyncio.sleep(_POLL)
        if self._cancelled_at is not None:
            left = self._cancelled_at + _REPORTS_OF_CALLS - self._loop.time()
            self._cancelled_at = None
            if left > 0:
                await asyncio.sleep(left)

    def end(self) -> None:
        """Ends all calls at once, without the loop. Those that wait for them go on later."""
        if not self._loop.is_closed():
            self._take_answers()
        calls, tasks = list(self.active), list(self._tasks)
        self.active.clear()
        for call in calls:
            tasks += [getattr(call, name) for name in _TASKS if hasattr(call, name)]
        tasks += _status_tasks(self._loop, calls)
        for call in calls:
            self._ended.add(call)
            # A loop that is closed cannot note the end.
            with contextlib.suppress(RuntimeError):
                call.cancel()
        for task in tasks:
            if not task.done():
                self._ended.add(task)
                self._end_task(task)
        for call in calls:
            # The rest of the call may live on in frames of the user.
            vars(call).pop("_cython_call", None)

    def _take_answers(self) -> None:
        """Takes the answers of single calls that come soon. A lease would be lost otherwise.

        The loop stands still, so its part is done here: gRPC's events, and a step of each call.
        """
        waiting = [call for call in self.active if hasattr(call, _INVOCATION)]
        deadline = time.monotonic() + _ANSWERS
        queues = _event_queues() if waiting else []
        while waiting and queues and time.monotonic() < deadline:
            for queue in queues:
                queue._handle_events(self._loop)
            waiting = [call for call in waiting if not self._take_answer(call)]
            if waiting:
                time.sleep(_POLL)

    def _take_answer(self, call: Any) -> bool:
        """Whether nothing has to be waited for."""
        task: asyncio.Task[Any] = getattr(call, _INVOCATION)
        future = getattr(task, "_fut_waiter", None)
        if future is None:
            # It has not begun, or it has ended and its answer is on its way.
            if task.done() and not task.cancelled() and task.exception() is None:
                self._answers[call] = task.result()
            return True
        if not future.done():
            return False
        coroutine: Any = task.get_coro()
        try:
            coroutine.send(None)
        except StopIteration as done:
            if done.value is not grpc.aio.EOF:
                self._answers[call] = done.value
        except Exception:  # noqa: BLE001
            # The call is made again.
            pass
        return True

    def answer_of(self, call: Any) -> Any:
        """The answer of a call that a fork has ended, or None."""
        return self._answers.pop(call, None)

    @staticmethod
    def _end_task(task: asyncio.Task[Any]) -> None:
        with contextlib.suppress(RuntimeError):
            task.add_done_callback(_retrieve)
            task.cancel()
        coroutine: Any = task.get_coro()
        # The task notices at its next step, but its frames are gone now.
        with contextlib.suppress(RuntimeError, ValueError):
            coroutine.close()


class LoopStream:
    """A stream of changes."""

    def __init__(self, calls: Calls, call: Any) -> None:
        self._calls = calls
        self._call = call
        self._has_begun = False
        calls.active.add(call)

    async def read(self) -> Any:
        """The next message. Raises `EndedByFork` if the stream was ended."""
        if self.was_interrupted:
            raise self._calls.error_of(self._call)
        message = await self._calls.inner(self._call.read())
        if not self._has_begun:
            self._has_begun = True
            self._calls.note_read(self._call)
        return message

    @property
    def was_interrupted(self) -> bool:
        """Whether a fork has ended it, or the end of its connection."""
        return self._calls.was_ended(self._call)

    def end(self) -> None:
        """Ends it. After a fork nothing is left that could be ended."""
        self._calls.active.discard(self._call)
        if not self.was_interrupted and (self._call.cancel() or not self._has_begun):
            self._calls.note_cancelled()


async def _read_all(stream: Any) -> list[Any]:
    messages = []
    while (message := await stream.read()) is not grpc.aio.EOF:
        messages.append(message)
    return messages


async def _iterate(stream: Any) -> list[Any]:
    return [message async for message in stream]


def _event_queues() -> list[Any]:
    return [each for each in gc.get_objects() if type(each).__name__ == _EVENT_QUEUE]


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Looks at the error of a task, which asyncio would log otherwise."""
    if not task.cancelled():
        task.exception()


def _status_tasks(loop: asyncio.AbstractEventLoop, calls: Iterable[Any]) -> list[asyncio.Task[Any]]:
    """gRPC's tasks that wait for the ends of the calls. It has no other reference to them."""
    wanted = {id(call._cython_call) for call in calls if hasattr(call, "_cython_call")}
    found = []
    for task in asyncio.all_tasks(loop) if wanted else ():
        coroutine = task.get_coro()
        if getattr(coroutine, "__name__", "") == _STATUS_TASK:
            # A coroutine of Cython keeps its variables in an object of its own.
            scopes = gc.get_referents(coroutine)
            if any(id(each) in wanted for scope in scopes for each in gc.get_referents(scope)):
                found.append(task)
    return found
