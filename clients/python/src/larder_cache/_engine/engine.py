"""Calls: metadata, deadlines, retries, the breaker, and the errors of the library."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import grpc

from larder_cache import telemetry as telemetry_module
from larder_cache._engine.breaker import PAUSE, Breaker
from larder_cache._engine.counters import NAMES, OTHER, Counters, counters_in
from larder_cache._engine.io import Io
from larder_cache._transport.methods import Method
from larder_cache._transport.tokens import Metadatas
from larder_cache.errors import (
    ClientClosed,
    DeadlineExceeded,
    LarderError,
    Unauthenticated,
    Unavailable,
    from_rpc,
)
from larder_cache.names import encode_namespace
from larder_cache.options import Options

ATTEMPTS = 3
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.2
_TOKENS = 10.0
_TOKENS_PER_SUCCESS = 0.1


class Engine:
    """The state of a client that all namespaces share."""

    def __init__(self, options: Options, io: Io) -> None:
        self.options = options
        self.io = io
        self.metadatas = Metadatas(options)
        self.breaker = Breaker(options.target)
        self.counters: dict[str, Counters] = {}
        self._lock = threading.Lock()
        self._tokens = _TOKENS
        self._reconnected_at = 0.0
        self.near_hub: Any = None
        self.telemetry = telemetry_module.for_client(self) if options.telemetry else None

    def counters_of(self, namespace: str) -> Counters:
        """The counters of a namespace, or those that many namespaces share."""
        with self._lock:
            return counters_in(self.counters, namespace)

    def counted(self, namespace: str | None) -> dict[str, int]:
        """The numbers of a namespace, or the sums of all."""
        if namespace is None:
            everything = list(self.counters.values())
            return {name: sum(getattr(each, name) for each in everything) for name in NAMES}
        if namespace != OTHER:
            namespace = encode_namespace(self.options.namespace_prefix + namespace)
        return self.counters.get(namespace, Counters()).as_dict()

    def forked(self) -> None:
        """In a child process: locks, and what the parent was about to do, start again."""
        self._lock = threading.Lock()
        self.breaker = Breaker(self.options.target)
        if self.near_hub is not None:
            self.near_hub.forked()

    async def rpc(
        self,
        method: Method,
        request: Any,
        timeout: float | None,
        counters: Counters | None = None,
        *,
        repeat: bool = True,
        always: bool = False,
    ) -> Any:
        """One call with its retries. `always`: also if the breaker is open.

        Raises `LarderError`.
        """
        telemetry = self.telemetry
        if telemetry is not None and telemetry.active():
            return await telemetry.observe(self, method, request, timeout, counters, repeat, always)
        metadata = self.metadatas.fixed
        if self.breaker.failures or metadata is None or self._tokens < _TOKENS:
            return await self.guarded(method, request, timeout, counters, repeat, always)
        try:
            return await self.io.invoke(method, request, timeout, metadata)
        except grpc.RpcError as error:
            return await self.guarded(method, request, timeout, counters, repeat, always, error)

    async def guarded(
        self,
        method: Method,
        request: Any,
        timeout: float | None,
        counters: Counters | None,
        repeat: bool,
        always: bool,
        first_error: grpc.RpcError | None = None,
        more_metadata: tuple[tuple[str, str], ...] = (),
    ) -> Any:
        """`rpc` with all that a call can need. `first_error`: the first attempt is over."""
        breaker = self.breaker
        probe = False
        if first_error is None and breaker.open and not always:
            probe = breaker.enter()
        try:
            answer = await self._attempts(
                method, request, timeout, counters, repeat, first_error, more_metadata
            )
        except LarderError as error:
            self._note(error, probe)
            raise
        finally:
            if probe:
                breaker.leave()
        if breaker.failures:
            breaker.succeeded()
        return answer

    def _note(self, error: LarderError, probe: bool) -> None:
        if isinstance(error, ClientClosed) or error.reason.startswith("ORIGIN_"):
            return
        if error.outage:
            self.breaker.failed(error, probe)
            if isinstance(error, DeadlineExceeded):
                self._reconnect()
        elif self.breaker.failures:
            self.breaker.succeeded()

    def _reconnect(self) -> None:
        """Replaces a connection that may have died in silence, such as by a NAT or a failover.

        That is one on which the calls that open the breaker, or a probe, had no answer; with a
        limit for idle connections, as in a process that is frozen at times, after a single one.
        """
        if not self.breaker.open and self.options.max_idle is None:
            return
        with self._lock:
            now = time.monotonic()
            if now - self._reconnected_at < PAUSE:
                return
            self._reconnected_at = now
        self.io.reconnect()

    async def _attempts(
        self,
        method: Method,
        request: Any,
        timeout: float | None,
        counters: Counters | None,
        repeat: bool,
        rpc_error: grpc.RpcError | None,
        more_metadata: tuple[tuple[str, str], ...],
    ) -> Any:
        deadline = None if timeout is None else time.monotonic() + timeout
        attempt = 1
        pause = _FIRST_PAUSE
        while True:
            if rpc_error is None:
                try:
                    metadata = await self.metadata()
                    left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
                    answer = await self.io.invoke(method, request, left, metadata + more_metadata)
                    self._tokens = min(_TOKENS, self._tokens + _TOKENS_PER_SUCCESS)
                    return answer
                except grpc.RpcError as error:
                    rpc_error = error
            made = from_rpc(rpc_error)
            if self.io.closed:
                raise ClientClosed("the client is closed") from rpc_error
            if isinstance(made, Unauthenticated) and attempt == 1 and self.metadatas.refused():
                wait = 0.0
            else:
                wait_or_none = self._pause(method, made, rpc_error, attempt, pause, repeat)
                if wait_or_none is None:
                    raise made
                wait = wait_or_none
                if deadline is not None and time.monotonic() + wait >= deadline:
                    raise made
            if counters is not None:
                counters.retries += 1
            await self.io.sleep(wait)
            attempt, pause, rpc_error = attempt + 1, min(pause * 2, _LONGEST_PAUSE), None

    async def metadata(self) -> Any:
        """The metadata of an attempt. A token that cannot be had is an outage."""
        try:
            return await self.metadatas.current()
        except LarderError:
            raise
        except Exception as error:
            raise Unavailable(
                f"the callable for the token failed: {error!r}", reason="NO_TOKEN"
            ) from error

    def _pause(
        self,
        method: Method,
        error: LarderError,
        rpc_error: grpc.RpcError,
        attempt: int,
        pause: float,
        repeat: bool,
    ) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        if error.code != "UNAVAILABLE" or error.reason.startswith("ORIGIN_"):
            return None
        self._tokens = max(0.0, self._tokens - 1)
        if not (repeat and method.repeatable) or attempt >= ATTEMPTS:
            return None
        if self._tokens <= _TOKENS / 2 or self.breaker.failures:
            return None
        trailers: Any = rpc_error.trailing_metadata() or ()
        for name, value in trailers:
            if name == "grpc-retry-pushback-ms":
                try:
                    millis = int(value)
                except ValueError:
                    return None
                return None if millis < 0 else millis / 1000
        return pause * random.uniform(0.8, 1.2)
