"""Streams of changes that threads read."""

from __future__ import annotations

import time
from typing import Any


class BlockingStream:
    """The stream of a feed that is being read, for the thread that ends it."""

    def __init__(self) -> None:
        self.call: Any = None
        self.closed = False
        self.last_message = time.monotonic()

    def close(self) -> None:
        """Ends the reading."""
        self.closed = True
        self.interrupt()

    def interrupt(self) -> None:
        """Ends the stream. Another one follows, unless the reading is over."""
        call = self.call
        if call:
            call.cancel()
