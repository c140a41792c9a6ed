"""What the Python workers of the outage note."""

from __future__ import annotations

import json
import time
from typing import Any

# Seconds between two calls of a caller.
PAUSE = 0.01


class Notes:
    """Results and times of reads, by phase. One lock is not needed: adding to a list is atomic."""

    def __init__(self) -> None:
        self.phase = "before"
        self.times: list[float] = []
        self.raised: list[str] = []
        self.wrong: list[str] = []
        self.after = 0
        self.up_since: float | None = None
        self.back: float | None = None

    def command(self, line: str) -> None:
        """A phase begins."""
        self.phase = line
        if line == "up":
            self.up_since = time.monotonic()

    def read(self, result: Any, began: float, phase: str) -> None:
        """A read was answered."""
        now = time.monotonic()
        real = not result.degraded and result.error is None
        if phase == "down":
            self.times.append(now - began)
        elif phase == "up":
            self.after += 1
            if real and self.back is None and self.up_since is not None:
                self.back = now - self.up_since
        elif phase == "before" and not real:
            self.wrong.append(f"before the outage: {result!r}")

    def fetched(self, result: Any, key: str) -> None:
        """A get_or_fetch was answered: with the value, in all phases."""
        if result.value != key:
            self.wrong.append(f"{key}: {result!r}")

    def report(self) -> str:
        """JSON for the script."""
        times = sorted(self.times)
        facts = {
            "down": len(times),
            "p50": times[len(times) // 2],
            "p99": times[len(times) * 99 // 100],
            "longest": times[-1],
            "raised": self.raised,
            "wrong": self.wrong,
            "after": self.after,
            "back": self.back,
        }
        return json.dumps(facts)
