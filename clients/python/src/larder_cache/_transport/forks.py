"""Forks: a child process has channels, threads and locks of its own."""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol


class Forked(Protocol):
    """Something that starts again in a child process."""

    def forked(self) -> Any:
        """Starts again. Returns what must not be freed."""
        ...


_all: weakref.WeakSet[Any] = weakref.WeakSet()
# Freeing a channel of the parent would close its connection, or wait for threads that are gone.
_kept: list[Any] = []


def on_fork(thing: Forked) -> None:
    """Calls `forked` of the thing in every child process."""
    _all.add(thing)


def _in_child() -> None:
    for thing in list(_all):
        _kept.append(thing.forked())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
