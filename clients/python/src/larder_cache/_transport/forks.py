"""Forks: a child process has channels, threads and locks of its own.

gRPC's own support of forks does not help if other threads are in calls or if an event loop runs. So
all channels end before a fork, and gRPC with them. The parent process makes new ones afterwards.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from typing import Any, Protocol

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

# Seconds for which calls wait for a fork in another thread.
TAKES = 5.0
# Seconds that gRPC has left to end its threads, which takes some 10 ms.
_THREADS_END = 2.0
# The same if others have channels, to which the threads may belong.
_THREADS_OF_OTHERS = 0.15
_POLL = 0.002
_TASKS = "/proc/self/task"
# The threads of gRPC's core, as Linux shortens their names.
_CORE = ("event_engine", "lifeguard", "grpc_global_tim", "grpc_shutdown")
# gRPC's objects that keep it running.
_USERS = ("Channel", "AioChannel", "Server", "AioServer")
# grpc.aio has one thread, which hands events to all loops. It is named after its function.
_POLLER = "_poll_wrapper"


class Forked(Protocol):
    """Something that starts again in a child process."""

    def before_fork(self) -> bool:
        """Lets go of what a child process could not live with. Whether that was a channel."""
        ...

    def forked(self) -> Any:
        """Starts again in a child process. Returns what must not be freed."""
        ...


class EndedByFork(grpc.RpcError):
    """A fork has ended the call, or gRPC cannot work in this process since a fork."""

    def __init__(self, details: str = "a fork of the process ended the call") -> None:
        super().__init__(details)
        self._details = details

    def code(self) -> grpc.StatusCode:
        """As if the server was away, so that the call is repeated."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """For people."""
        return self._details

    def initial_metadata(self) -> tuple[()]:
        """None."""
        return ()

    def trailing_metadata(self) -> tuple[()]:
        """None."""
        return ()


class _State:
    """The forks of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.over = threading.Event()
        self.over.set()
        self.core_left = False
        self.poller_left = False
        self.inherited_core = False
        self.inherited_poller = False


_all: weakref.WeakSet[Any] = weakref.WeakSet()
_state = _State()
_registering = threading.Lock()
_registered = False
# Freeing a channel of the parent would close its connection, or wait for threads that are gone.
_kept: list[Any] = []


def on_fork(thing: Forked) -> None:
    """Calls `before_fork` of the thing before a fork, and `forked` in the child process."""
    _all.add(thing)


def under_way() -> bool:
    """Whether another thread is about to fork: no channel may be made then."""
    return not _state.over.is_set()


def wait_until_over() -> None:
    """Waits for the fork that is under way, if there is one."""
    _state.over.wait(TAKES)


def prepare(asyncio: bool) -> None:
    """Before a channel is made. Raises `EndedByFork` if gRPC cannot work in this process."""
    _register()
    if asyncio and _state.inherited_poller:
        raise EndedByFork(
            "grpc.aio cannot work in this process: its parent process had channels of grpc.aio at "
            "the fork that Larder's client could not close"
        )
    if _state.inherited_core and not core_threads():
        raise EndedByFork(
            "gRPC cannot work in this process: its parent process had channels at the fork that "
            "Larder's client could not close"
        )


def _register() -> None:
    """The hook of the last one that registers is the first before a fork: ours, not gRPC's."""
    global _registered
    if _registered or not hasattr(os, "register_at_fork"):
        return
    with _registering:
        if _registered:
            return
        if os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in ("1", "true", "yes"):
            # gRPC registers its hooks with its first channel.
            grpc.insecure_channel("127.0.0.1:1").close()
        os.register_at_fork(before=_before)
        _registered = True


def core_threads() -> int:
    """The number of threads of gRPC's core. 0 where that is not known."""
    found = 0
    try:
        tasks = os.listdir(_TASKS)
    except OSError:
        return 0
    for task in tasks:
        try:
            with open(f"{_TASKS}/{task}/comm") as file:
                found += file.read().strip() in _CORE
        except OSError:
            # It has ended meanwhile.
            continue
    return found


def _has_poller() -> bool:
    return any(_POLLER in thread.name for thread in threading.enumerate())


def _is_running() -> bool:
    """Whether gRPC has threads. Those for gevent wait for its greenlets, which end after them."""
    greenlets = getattr(cygrpc, "g_gevent_pool", None)
    return core_threads() > 0 or _has_poller() or bool(greenlets is not None and len(greenlets))


def _before() -> None:
    state = _state
    # Another thread that forks is waited for, but not for ever.
    state.lock.acquire(timeout=TAKES)
    state.over.clear()
    let_go = [thing.before_fork() for thing in list(_all)]
    # Channels that were closed a moment ago may still be ending.
    if any(let_go) or _is_running():
        # A channel of asyncio ends when its last reference does.
        gc.collect()
        _await_ends_of_threads()
    state.core_left = core_threads() > 0
    state.poller_left = _has_poller()


def _await_ends_of_threads() -> None:
    """gRPC ends its threads in the background. It has no call that waits for them."""
    if not os.path.isdir(_TASKS):
        time.sleep(_THREADS_OF_OTHERS)
        return
    began = time.monotonic()
    limit: float | None = None
    while _is_running():
        took = time.monotonic() - began
        if limit is None and took > _THREADS_OF_OTHERS:
            limit = 0 if _is_used_by_others() else _THREADS_END
        if limit is not None and took > limit:
            return
        time.sleep(_POLL)


def _is_used_by_others() -> bool:
    users = (type(each) for each in gc.get_objects())
    return any(each.__name__ in _USERS and "cygrpc" in each.__module__ for each in users)


def _in_parent() -> None:
    _state.over.set()
    try:
        _state.lock.release()
    except RuntimeError:
        # No hook has run before the fork, or another thread forks for too long.
        pass


def _in_child() -> None:
    global _state, _registering
    parent, _state = _state, _State()
    _registering = threading.Lock()
    _state.inherited_core = parent.core_left or parent.inherited_core
    _state.inherited_poller = parent.poller_left or parent.inherited_poller
    for thing in list(_all):
        _kept.append(thing.forked())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_in_parent, after_in_child=_in_child)
