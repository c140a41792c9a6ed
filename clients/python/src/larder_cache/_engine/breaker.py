"""The breaker, which spares calls the wait for a server that is away, and the log of outages."""

from __future__ import annotations

import logging
import random
import threading
import time

from larder_cache.errors import LarderError, Unavailable

logger = logging.getLogger("larder_cache")

THRESHOLD = 5
PAUSE = 0.5


class Breaker:
    """Opens after 5 outages in a row, and then lets one call through after each pause.

    The next one is let through also if that before it has not ended: a call can wait for a
    computation of another process.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._lock = threading.Lock()
        self.failures = 0
        """Outages in a row. While it is 0, calls need not ask the breaker."""
        self._closed_until = 0.0
        self._probing = False
        self._since = 0.0

    @property
    def open(self) -> bool:
        """Whether the client answers by itself."""
        return self.failures >= THRESHOLD

    def enter(self) -> bool:
        """Before a call: whether it is a probe. Raises `Unavailable` if it must not be made."""
        if self.failures < THRESHOLD:
            return False
        with self._lock:
            now = time.monotonic()
            left = self._closed_until - now
            if left <= 0:
                self._probing = True
                self._closed_until = now + random.uniform(PAUSE, PAUSE * 1.5)
                return True
        raise Unavailable(
            f"{self._target} did not answer {self.failures} calls in a row",
            reason="BREAKER_OPEN",
            retry_after=max(left, 0.0),
        )

    def leave(self) -> None:
        """After a probe, however it ended. The next call is one, unless there was an outage."""
        with self._lock:
            if self._probing:
                self._probing = False
                self._closed_until = 0.0

    def succeeded(self) -> None:
        """After an answer, also one that is a mistake."""
        with self._lock:
            if not self.failures:
                return
            self.failures = 0
            lasted = time.monotonic() - self._since
        logger.info("cache %s is back after %.1f s", self._target, lasted)

    def failed(self, error: LarderError, probe: bool) -> None:
        """After an outage.

        Those of calls that are made while the breaker is open do not put the next probe off.
        """
        with self._lock:
            self.failures += 1
            now = time.monotonic()
            if self.failures == THRESHOLD or probe:
                self._probing = False
                self._closed_until = now + random.uniform(PAUSE, PAUSE * 1.5)
            if self.failures > 1:
                return
            self._since = now
        logger.warning("cache %s is away, calls go on without it: %s", self._target, error)
