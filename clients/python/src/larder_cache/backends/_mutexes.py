"""Mutexes across processes, each of them a lease of the server."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from larder_cache import Client, LarderError
from larder_cache._engine.computing import Lease
from larder_cache._engine.drive import drive
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.methods import GET_OR_FETCH
from larder_cache.durations import to_proto, to_seconds
from larder_cache.names import encode_key

__all__ = ["LeaseMutex", "LeaseMutexes"]

logger = logging.getLogger(__name__)

# The lease of a mutex is one of an entry beside the value, which is never stored.
_PARAMS = {"larder-mutex": "1"}
#: Longest wait of one call in seconds; a mutex asks again until its own limit.
_CALL_WAIT = 5.0


class _Local:
    """The lock of one key among the threads of this process."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()


class LeaseMutexes:
    """The mutexes of one namespace.

    A mutex is held until it is released: its lease is renewed meanwhile. If the process ends, the
    lease expires (after 10 s by default), and another process acquires the mutex.

    Threads of this process first queue for a lock, so that only one of them asks the server. While
    the server is away, that lock is all there is; with `on_error="raise"`, `acquire` raises then.
    `patience` is how many seconds `acquire` waits at most.
    """

    def __init__(self, client: Client, namespace: str, patience: float) -> None:
        self._handle: Any = client.namespace(namespace)._handle
        self.patience = patience
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._locals: WeakValueDictionary[str, _Local] = WeakValueDictionary()

    def local(self, key: str) -> _Local:
        """Returns the lock of a key in this process."""
        if self._pid != os.getpid():
            # A forked child must not wait for threads that only its parent has.
            self._reset()
        with self._guard:
            found = self._locals.get(key)
            if found is None:
                found = self._locals[key] = _Local()
            return found

    def ask(self, key: str, wait: float) -> Lease | float | None:
        """Asks for the lease of a key for up to `wait` seconds.

        Returns the lease, or the seconds after which to ask again, or None if the server cannot
        exclude others now. Raises `LarderError`.
        """
        handle = self._handle
        sent = encode_key(key)
        request = pb.GetOrFetchRequest(
            namespace=handle.name, key=sent, params=_PARAMS, wait=to_proto(wait)
        )
        timeout = wait + handle.engine.options.fetch_margin
        try:
            answer = drive(handle.engine.rpc(GET_OR_FETCH, request, timeout, handle.counters))
        except LarderError as error:
            if not handle.opened(error):
                raise
            logger.warning("a mutex excludes this process only: %s", error)
            return None
        kind = answer.WhichOneof("outcome")
        if kind == "contended":
            return to_seconds(answer.contended.retry_after)
        if kind != "lease" or answer.degraded:
            return None
        granted = answer.lease
        return Lease(
            handle, sent, _PARAMS, granted.token, to_seconds(granted.expires_in), degraded=False
        )

    def renewing(self, lease: Lease) -> Any:
        """Renews a lease until the result is stopped."""
        return self._handle.engine.io.every(lease.interval, lease.renew)

    def mutex(self, key: str) -> LeaseMutex:
        """Returns a mutex for a key. Mutexes with the same key exclude each other."""
        return LeaseMutex(self, key)


class _Held(NamedTuple):
    local: _Local
    # None if the server could not exclude others.
    lease: Lease | None
    renewing: Any


class LeaseMutex:
    """A mutex with the methods that `dogpile.cache.api.CacheMutex` describes."""

    __slots__ = ("__weakref__", "_held", "_key", "_mutexes")

    def __init__(self, mutexes: LeaseMutexes, key: str) -> None:
        self._mutexes = mutexes
        self._key = key
        self._held: _Held | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Acquires the mutex; returns whether it did. It waits for `patience` at most."""
        patience = self._mutexes.patience if wait else 0.0
        deadline = time.monotonic() + patience
        local = self._mutexes.local(self._key)
        if not local.lock.acquire(timeout=patience):
            return False
        try:
            held = self._lease(local, deadline)
        except BaseException:
            local.lock.release()
            raise
        if held is None:
            local.lock.release()
            return False
        self._held = held
        return True

    def _lease(self, local: _Local, deadline: float) -> _Held | None:
        while True:
            left = max(0.0, deadline - time.monotonic())
            answer = self._mutexes.ask(self._key, min(left, _CALL_WAIT))
            if answer is None:
                return _Held(local, None, None)
            if isinstance(answer, Lease):
                return _Held(local, answer, self._mutexes.renewing(answer))
            # A share of the time, so that callers that wait do not ask all at once.
            pause = answer * random.uniform(0.5, 1.0)
            if time.monotonic() + pause >= deadline:
                return None
            time.sleep(pause)

    def release(self) -> None:
        """Releases the mutex, from any thread. Without effect if it is not held."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            if held.lease is not None:
                held.renewing.stop()
                drive(held.lease.abandon("released", pass_on=True))
        finally:
            held.local.lock.release()

    def locked(self) -> bool:
        """Returns whether the mutex is held, here or elsewhere.

        To see that, it takes the lease for a moment if it is free.
        """
        if self._mutexes.local(self._key).lock.locked():
            return True
        answer = self._mutexes.ask(self._key, 0.0)
        if isinstance(answer, Lease):
            drive(answer.abandon("not needed", pass_on=True))
        return isinstance(answer, float)
