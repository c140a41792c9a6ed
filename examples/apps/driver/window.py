"""Parts of a run."""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """A part of the run, in seconds of the epoch."""

    begin: float
    end: float
