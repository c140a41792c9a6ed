"""get_or_fetch: the lease protocol."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration as ProtoDuration

from larder_cache._engine.computing import Lease, compute, compute_unstored
from larder_cache._engine.handle import Handle
from larder_cache._engine.io import Flight
from larder_cache._engine.writes import wrote
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.methods import GET_OR_FETCH
from larder_cache.codecs import Codec
from larder_cache.durations import Duration, Forever, seconds, to_proto, to_seconds
from larder_cache.errors import DecodeError, InvalidArgument, LarderError, Unavailable
from larder_cache.names import encode_key, encode_params
from larder_cache.results import NO_FACTS, Miss, Result

logger = logging.getLogger("larder_cache")


def budget_of(handle: Handle, timeout: Duration | None) -> float:
    """The seconds for which a call may wait for the computations of others."""
    if timeout is None:
        return handle.engine.options.wait
    number = seconds(timeout, "timeout")
    if number < 0:
        raise InvalidArgument(f"timeout must not be negative, not {timeout!r}")
    return number


def proto_seconds(number: float) -> ProtoDuration:
    """The wire form of seconds."""
    return to_proto(max(0.0, number))


class Fetch:
    """One call of get_or_fetch."""

    __slots__ = (
        "budget",
        "codec",
        "deadline",
        "handle",
        "key",
        "loader",
        "max_stale",
        "params",
        "refresh",
        "tags",
        "ttl",
    )

    def __init__(
        self,
        handle: Handle,
        key: str,
        loader: Callable[..., Any] | None,
        ttl: Duration | Forever | None,
        tags: Any,
        params: Mapping[str, str] | None,
        timeout: Duration | None,
        refresh: bool,
        max_stale: Duration | None,
        type: Any,
    ) -> None:
        if loader is not None and not callable(loader):
            raise TypeError(f"loader must be callable, not {loader!r}")
        self.handle = handle
        self.key = encode_key(key)
        self.loader = loader
        self.ttl = handle.ttl_for(ttl)
        self.tags = handle.tags_for(tags)
        self.params = encode_params(params) if params else None
        self.budget = budget_of(handle, timeout)
        self.deadline = time.monotonic() + self.budget
        self.refresh = refresh
        self.max_stale = None if max_stale is None else to_proto(max_stale, "max_stale")
        self.codec: Codec = handle.codec_for(type)

    async def run(self, timeout: Duration | None) -> Result[Any]:
        """The result of the call."""
        if self.refresh:
            # It must not get a value whose computation began before it.
            return await self.lead(_Alone())
        pairs = frozenset(self.params.items()) if self.params else None
        # Calls that would end in different ways do not join each other.
        max_stale = None if self.max_stale is None else self.max_stale.ToNanoseconds()
        ends = (self.codec, self.loader is None, self.handle.opens, max_stale)
        key = (self.handle.name, self.key, pairs, *ends)
        patience = None if timeout is None else self.budget
        result = await self.handle.engine.io.fly(key, self.lead, patience)
        if result is None:
            # The computation that this call joined takes longer than its timeout.
            return await self.give_up(Miss(None), None)
        if result.joined and result.tier == "loader":
            self.handle.counters.joined += 1
        return result

    def request(self, wait: float, no_cache: bool) -> pb.GetOrFetchRequest:
        """The request to send."""
        request = pb.GetOrFetchRequest(
            namespace=self.handle.name,
            key=self.key,
            params=self.params,
            wait=proto_seconds(wait),
            no_cache=no_cache,
            max_stale=self.max_stale,
        )
        return request

    async def lead(self, flight: Flight) -> Result[Any]:
        """Asks the server, and computes with a lease or without."""
        handle = self.handle
        engine = handle.engine
        no_cache = self.refresh
        first = True
        counted = False
        while True:
            left = self.deadline - time.monotonic()
            wait = min(self.budget if first else max(0.0, left), engine.options.wait)
            first = False
            request = self.request(wait, no_cache)
            near = handle.near
            mark = None if near is None else near.mark()
            if mark is not None:
                request.consistency = pb.CONSISTENCY_STORE
            try:
                answer = await engine.rpc(
                    GET_OR_FETCH,
                    request,
                    wait + engine.options.fetch_margin,
                    handle.counters,
                )
            except LarderError as error:
                if not handle.opened(error):
                    raise
                return await self.give_up(Miss(None, degraded=True, error=error), flight)
            kind = answer.WhichOneof("outcome")
            if kind == "found":
                if near is not None and mark is not None:
                    near.keep(request, answer.found, mark)
                result = handle.result(self.codec, answer.found, answer.degraded)
                if answer.cause and result.error is None:
                    result.error = Unavailable(answer.cause, reason="COMPUTATION_FAILED")
                if not isinstance(result.error, DecodeError) or self.loader is None:
                    return result
                if no_cache:
                    # Another caller has stored such a value again, as an older release may do.
                    return await self.give_up(result, flight)
                # A value that cannot be decoded was counted as a miss, and is computed anew.
                no_cache = counted = True
                continue
            if kind == "lease":
                handle.counters.misses += 0 if counted else 1
                return await self.with_lease(answer, flight)
            if kind == "contended":
                pause = to_seconds(answer.contended.retry_after) * random.uniform(0.5, 1.0)
                if time.monotonic() + pause < self.deadline:
                    await engine.io.sleep(pause)
                    continue
                handle.counters.misses += 0 if counted else 1
                busy = Unavailable(
                    answer.cause or "another caller computes the value",
                    reason="COMPUTATION_FAILED" if answer.cause else "CONTENDED",
                    retry_after=to_seconds(answer.contended.retry_after),
                )
                return await self.give_up(Miss(None, degraded=answer.degraded, error=busy), flight)
            handle.counters.misses += 0 if counted else 1
            miss: Result[Any] = Miss(None, NO_FACTS, degraded=answer.degraded)
            # An answer that this release lacks: the caller still gets its value.
            return miss if kind == "not_cached" else await self.give_up(miss, flight)

    async def with_lease(self, answer: pb.GetOrFetchResponse, flight: Flight) -> Result[Any]:
        """Computes the value under a lease."""
        handle = self.handle
        granted = answer.lease
        lease = Lease(
            handle,
            self.key,
            self.params,
            granted.token,
            to_seconds(granted.expires_in),
            answer.degraded,
        )
        stale: Result[Any] | None = None
        if granted.HasField("stale"):
            stale = handle.result(self.codec, granted.stale)
            if not stale.found:
                stale = None
        loader = self.loader
        if loader is None:
            # No value is computed here: the next caller gets the lease.
            await lease.abandon("no loader", pass_on=True)
            return stale or Miss(None, degraded=answer.degraded)
        # Another stale value is only a substitute if the loader fails.
        if stale is not None and granted.stale_while_revalidate and not lease.degraded:
            found = stale

            async def refresh() -> None:
                try:
                    await compute(self, lease, loader, found)
                except Exception as error:  # noqa: BLE001
                    # Errors of loaders are counted and have abandoned the lease.
                    logger.debug("background computation of %r failed: %r", self.key, error)

            if handle.engine.io.background(refresh):
                return stale
        return await flight.compute(compute(self, lease, loader, stale))

    async def give_up(self, miss: Result[Any], flight: Flight | None) -> Result[Any]:
        """Computes without storing; without a loader, it is a miss."""
        if self.loader is None:
            return miss
        work = compute_unstored(self, self.loader, miss)
        return await (work if flight is None else flight.compute(work))


class _Alone:
    """A flight that others do not join."""

    async def compute(self, work: Any) -> Result[Any]:
        result: Result[Any] = await work
        return result


async def get_or_fetch(
    handle: Handle,
    key: str,
    loader: Callable[..., Any] | None,
    ttl: Duration | Forever | None,
    tags: Any,
    params: Mapping[str, str] | None,
    timeout: Duration | None,
    refresh: bool,
    max_stale: Duration | None,
    type: Any,
) -> Result[Any]:
    """Reads one entry, or computes it."""
    near = handle.near
    call = Fetch(handle, key, loader, ttl, tags, params, timeout, refresh, max_stale, type)
    if near is not None and not refresh:
        kept = near.take(handle, call.key, call.params, call.codec)
        if kept is not None:
            result: Result[Any] = kept
            return result
    try:
        return await call.run(timeout)
    finally:
        if refresh:
            wrote(handle, call.key)
