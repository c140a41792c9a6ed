"""Programs that end without `close`: at once, and without a word on stderr."""

from __future__ import annotations

import time

import pytest

from processes.support import script

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


@pytest.mark.parametrize("way", WAYS)
def test_end_without_close(target: str, way: str) -> None:
    began = time.monotonic()
    script("exits.py", target, way, limit=30)
    # An interpreter that waited for a thread of the client would take 600 s, a call 5 s or more.
    assert time.monotonic() - began < 15
