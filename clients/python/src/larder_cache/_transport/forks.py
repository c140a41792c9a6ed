"""Forks: a child process has channels, threads and locks of its own."""

from __future__ import annotations

import gc
import os
import time
import weakref
from typing import Any, Protocol


class Forked(Protocol):
    """Something that starts again in a child process."""

    def before_fork(self) -> bool:
        """Lets go of what a child process could not live with. Whether that was a channel."""
        ...

    def after_fork(self) -> None:
        """Goes on in the parent process."""
        ...

    def forked(self) -> Any:
        """Starts again in a child process. Returns what must not be freed."""
        ...


# Seconds that gRPC has left to end its threads, which takes some 10 ms.
_THREADS_END = 1.0
_POLL = 0.01
# So many equal counts in a row mean that no further thread ends.
_STABLE = 4
_THREADS = "/proc/self/task"

_all: weakref.WeakSet[Any] = weakref.WeakSet()
# Freeing a channel of the parent would close its connection, or wait for threads that are gone.
_kept: list[Any] = []


def on_fork(thing: Forked) -> None:
    """Calls `before_fork` of the thing before a fork, and `forked` in the child process."""
    _all.add(thing)


def _before() -> None:
    # gRPC's own support of forks does not help if other threads are in calls or a loop is running.
    let_go = [thing.before_fork() for thing in list(_all)]
    if any(let_go):
        # A channel of asyncio ends when its last reference does.
        gc.collect()
        _await_ends_of_threads()


def _await_ends_of_threads() -> None:
    """gRPC ends its threads in the background. It has no call that waits for them."""
    if not os.path.isdir(_THREADS):
        time.sleep(_THREADS_END / 10)
        return
    deadline = time.monotonic() + _THREADS_END
    last, equal = 0, 0
    while equal < _STABLE and time.monotonic() < deadline:
        time.sleep(_POLL)
        count = len(os.listdir(_THREADS))
        equal = equal + 1 if count == last else 0
        last = count


def _in_parent() -> None:
    for thing in list(_all):
        thing.after_fork()


def _in_child() -> None:
    for thing in list(_all):
        _kept.append(thing.forked())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
