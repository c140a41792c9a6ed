"""A circuit breaker around any function. The client of Larder has one of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from larder_cache.decorators._drive import settle
from larder_cache.decorators.callbacks import Callback, Offer


class CircuitBreakerOpen(Exception):
    """The call was not made, because the calls before it failed. ``retry_after`` is in seconds."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"the circuit breaker {name} is open for {retry_after:.1f} s")
        self.name = name
        self.retry_after = retry_after


class CircuitBreaker:
    """Refuses calls for ``recovery_timeout`` seconds after ``failure_threshold`` failures in a row.

    Then one call at a time is made, until one succeeds. ``callback`` runs when the breaker opens,
    with the error and, if it takes two arguments or one that is called ``name``, the name.
    """

    def __init__(
        self,
        name: str = "redis",
        failure_threshold: int = 5,
        recovery_timeout: float = 30,
        callback: Callable[..., Any] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failure_threshold < 1:
            raise ValueError(f"failure_threshold must be positive, not {failure_threshold!r}")
        if recovery_timeout <= 0:
            raise ValueError(f"recovery_timeout must be positive, not {recovery_timeout!r}")
        self.name = name
        self.failure_threshold = failure_threshold
        self.recovery_timeout = recovery_timeout
        self.failures = 0
        self._callback = (
            None if callback is None else Callback("callback", callback, Offer(("error", "name")))
        )
        self._clock = clock
        self._opened: float | None = None
        self._is_tried = False
        self._lock = threading.Lock()

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """``closed``, ``open``, or ``half_open``: the next call is tried."""
        with self._lock:
            if self._opened is None:
                return "closed"
            return "open" if self._left() > 0 else "half_open"

    def _left(self) -> float:
        assert self._opened is not None
        return self._opened + self.recovery_timeout - self._clock()

    async def execute(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function, or a coroutine function. Raises CircuitBreakerOpen, or its error."""
        self._enter()
        try:
            result = await settle(function(*args, **kwargs))
        except Exception as error:
            self._failed(error)
            raise
        except BaseException:
            self._left_undecided()
            raise
        self._succeeded()
        return result

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a blocking function. Raises CircuitBreakerOpen, or its error."""
        self._enter()
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            self._failed(error)
            raise
        except BaseException:
            self._left_undecided()
            raise
        self._succeeded()
        return result

    def _enter(self) -> None:
        with self._lock:
            if self._opened is None:
                return
            left = self._left()
            if left > 0 or self._is_tried:
                raise CircuitBreakerOpen(self.name, max(left, 0.0))
            self._is_tried = True

    def _succeeded(self) -> None:
        with self._lock:
            self.failures, self._opened, self._is_tried = 0, None, False

    def _left_undecided(self) -> None:
        # A call that was cancelled is no proof of anything.
        with self._lock:
            self._is_tried = False

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self.failures += 1
            opens = self.failures >= self.failure_threshold
            is_new = opens and self._opened is None
            if opens:
                self._opened = self._clock()
            self._is_tried = False
        if is_new and self._callback is not None:
            self._callback.call(error, self.name, more={"error": error, "name": self.name})
