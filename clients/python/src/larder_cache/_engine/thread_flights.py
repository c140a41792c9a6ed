"""Singleflight between threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Coroutine, Hashable
from typing import Any

from larder_cache._engine.io import Lead, lasting
from larder_cache.results import Result


class _Flight:
    __slots__ = ("done", "error", "leader", "next", "result")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.leader = threading.get_ident()
        self.result: Result[Any] | None = None
        self.error: Exception | None = None
        self.next: _Flight | None = None

    async def compute(self, work: Coroutine[Any, Any, Result[Any]]) -> Result[Any]:
        # The thread of the leader computes; the others wait for it.
        return await work


class ThreadFlights:
    """The computations under way, by key. The first two parts of a key are namespace and key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Any, _Flight] = {}

    async def fly(self, key: Hashable, lead: Lead, timeout: float | None) -> Result[Any] | None:
        """Joins the flight of the key, or leads one. None if the time is over before it ends."""
        deadline = None if timeout is None else time.monotonic() + timeout
        began_before = True
        with self._lock:
            found = self._flights.get(key)
            flight = found or self._add(key)
        leads = found is None
        while not leads:
            if flight.leader == threading.get_ident():
                raise RuntimeError(f"the loader of {key!r} asks for the value that it computes")
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not flight.done.wait(left):
                return None
            if flight.error is not None:
                raise flight.error
            result = flight.result
            if result is not None and (not began_before or lasting(result)):
                return result.with_joined()
            # The leader was interrupted, or read before this call began: all that joined go on
            # with the next flight.
            began_before = False
            with self._lock:
                leads = flight.next is None
                if flight.next is None:
                    flight.next = self._add(key)
                flight = flight.next
        return await self._lead(key, flight, lead)

    def _add(self, key: Hashable) -> _Flight:
        flight = _Flight()
        self._flights.setdefault(key, flight)
        return flight

    async def _lead(self, key: Hashable, flight: _Flight, lead: Lead) -> Result[Any]:
        try:
            flight.result = await lead(flight)
            return flight.result
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.done.set()

    def forget(self, namespace: str, key: str | None) -> None:
        """Later calls do not join the flights of a key, or of a namespace, of now."""
        if not self._flights:
            return
        with self._lock:
            for each in list(self._flights):
                if each[0] == namespace and (key is None or each[1] == key):
                    del self._flights[each]
