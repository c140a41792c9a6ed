"""A thread that runs small work again and again, such as the renewal of leases."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from larder_cache._engine.drive import drive

logger = logging.getLogger("larder_cache")

Step = Callable[[], Awaitable["float | None"]]
# The thread ends after this many seconds without work.
_IDLE = 30.0


class _Entry:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


class Timer:
    """One daemon thread for all entries. It ends when there were none for a while."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, _Entry]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def every(self, first: float, step: Step) -> _Entry:
        """Runs `step` after `first` seconds, then after those that it returns, until None."""
        entry = _Entry(step)
        with self._changed:
            if not self._closed:
                self._push(time.monotonic() + first, entry)
                if self._thread is None:
                    self._begin()
                elif self._heap[0][2] is entry:
                    self._changed.notify()
        return entry

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="larder-timer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            # No more threads, or the interpreter ends. The next entry tries again.
            self._thread = None
            self._heap = [each for each in self._heap if not each[2].stopped]
            heapq.heapify(self._heap)
            logger.warning("the thread of the timer cannot start: %s", error)

    def _push(self, at: float, entry: _Entry) -> None:
        heapq.heappush(self._heap, (at, next(self._order), entry))

    def _next(self) -> _Entry | None:
        with self._changed:
            idle_until = time.monotonic() + _IDLE
            while not self._closed:
                while self._heap and self._heap[0][2].stopped:
                    heapq.heappop(self._heap)
                now = time.monotonic()
                if self._heap and self._heap[0][0] <= now:
                    return heapq.heappop(self._heap)[2]
                if not self._heap and now >= idle_until:
                    break
                self._changed.wait((self._heap[0][0] if self._heap else idle_until) - now)
            self._thread = None
            return None

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            again: float | None = None
            try:
                again = drive(_awaited(entry.step()))
            except Exception:
                logger.exception("work of the timer failed")
            if again is not None and not entry.stopped:
                with self._changed:
                    self._push(time.monotonic() + again, entry)

    def close(self) -> None:
        """Ends the thread, and waits for the work that it is at."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)


async def _awaited(step: Awaitable[Any]) -> Any:
    return await step
