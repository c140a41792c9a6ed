"""Forks: a child process has channels, threads and locks of its own."""

from __future__ import annotations

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


# Seconds that gRPC has left to end its threads.
_THREADS_END = 0.1

_all: weakref.WeakSet[Any] = weakref.WeakSet()
# Freeing a channel of the parent would close its connection, or wait for threads that are gone.
_kept: list[Any] = []


def on_fork(thing: Forked) -> None:
    """Calls `before_fork` of the thing before a fork, and `forked` in the child process."""
    _all.add(thing)


def grpc_forks() -> bool:
    """Whether gRPC's own support of forks is on, which it is by default."""
    setting = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower()
    return setting not in ("0", "false", "no", "n", "f")


def _before() -> None:
    let_go = [thing.before_fork() for thing in list(_all)]
    if any(let_go) and not grpc_forks():
        # gRPC ends its threads in the background. It has no call that waits for them.
        time.sleep(_THREADS_END)


def _in_parent() -> None:
    for thing in list(_all):
        thing.after_fork()


def _in_child() -> None:
    for thing in list(_all):
        _kept.append(thing.forked())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
