"""Programs that end without `close`: at once, and without a word on stderr."""

from __future__ import annotations

import time
from functools import partial

from processes.support import script, side_by_side

WAYS = [
    "end",
    "idle",
    "exit",
    "os._exit",
    "dropped",
    "asyncio",
    "asyncio-dropped",
    "closed",
    "never-used",
]


def test_end_without_close(target: str) -> None:
    def case(way: str) -> None:
        began = time.monotonic()
        script("exits.py", target, way, limit=60)
        # An interpreter that waited for a thread of the client would take 600 s, a call 60 s.
        assert time.monotonic() - began < 15

    side_by_side({way: partial(case, way) for way in WAYS})
