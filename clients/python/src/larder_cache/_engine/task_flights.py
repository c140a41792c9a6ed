"""Singleflight between the tasks of an event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Hashable
from typing import Any

from larder_cache._engine.io import Lead, lasting
from larder_cache.results import Result

# The flights whose loaders the running code is a part of.
_leading: contextvars.ContextVar[frozenset[Any]] = contextvars.ContextVar(
    "larder_leading", default=frozenset()
)


class _Flight:
    __slots__ = ("done", "next", "task", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The result; None if the leader was cancelled before it began to compute.
        self.done: asyncio.Future[Result[Any] | None] = loop.create_future()
        self.task: asyncio.Task[Result[Any]] | None = None
        self.waiters = 1
        self.next: _Flight | None = None

    async def compute(self, work: Coroutine[Any, Any, Result[Any]]) -> Result[Any]:
        self.task = asyncio.get_running_loop().create_task(work)
        self.task.add_done_callback(self._settle)
        return await asyncio.shield(self.task)

    def _settle(self, task: asyncio.Task[Result[Any]]) -> None:
        if task.cancelled():
            self.finish(None)
        elif (error := task.exception()) is not None:
            self.fail(error)
        else:
            self.finish(task.result())

    def finish(self, result: Result[Any] | None) -> None:
        if not self.done.done():
            self.done.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            # It need not be looked at: without others, only the leader raises it.
            self.done.exception()

    def leave(self) -> None:
        """One caller less. The last one ends the computation."""
        self.waiters -= 1
        if self.waiters == 0 and self.task is not None:
            self.task.cancel()


class TaskFlights:
    """The computations under way, by key. The first two parts of a key are namespace and key."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._flights: dict[Any, _Flight] = {}

    async def fly(self, key: Hashable, lead: Lead, timeout: float | None) -> Result[Any] | None:
        """Joins the flight of the key, or leads one. None if the time is over before it ends."""
        deadline = None if timeout is None else self._loop.time() + timeout
        began_before = True
        flight = self._flights.get(key)
        if flight is None:
            return await self._lead(key, self._add(key), lead)
        while True:
            if flight in _leading.get():
                raise RuntimeError(f"the loader of {key!r} asks for the value that it computes")
            flight.waiters += 1
            try:
                left = None if deadline is None else max(0.0, deadline - self._loop.time())
                done, _ = await asyncio.wait([flight.done], timeout=left)
            finally:
                flight.leave()
            if not done:
                return None
            result = flight.done.result()
            if result is not None and (not began_before or lasting(result)):
                return result.with_joined()
            # The leader was cancelled, or read before this call began: all that joined go on with
            # the next flight.
            began_before = False
            if flight.next is None:
                flight.next = self._add(key)
                return await self._lead(key, flight.next, lead)
            flight = flight.next

    def _add(self, key: Hashable) -> _Flight:
        flight = _Flight(self._loop)
        self._flights.setdefault(key, flight)
        return flight

    async def _lead(self, key: Hashable, flight: _Flight, lead: Lead) -> Result[Any]:
        token = _leading.set(_leading.get() | {flight})
        flight.done.add_done_callback(lambda _: self._remove(key, flight))
        try:
            result = await lead(flight)
        except asyncio.CancelledError:
            if flight.task is None:
                flight.finish(None)
            raise
        except BaseException as error:
            flight.fail(error)
            raise
        else:
            flight.finish(result)
            return result
        finally:
            _leading.reset(token)
            flight.leave()
            if flight.done.done():
                self._remove(key, flight)

    def _remove(self, key: Hashable, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            self._flights.pop(key, None)

    def forget(self, namespace: str, key: str | None) -> None:
        """Later calls do not join the flights of a key, or of a namespace, of now."""
        if not self._flights:
            return
        for each in list(self._flights):
            if each[0] == namespace and (key is None or each[1] == key):
                # A client in several loops forgets from other threads, too.
                self._flights.pop(each, None)
