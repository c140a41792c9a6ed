"""Computations under leases: the loader runs, the lease is renewed, the value is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from larder_cache._engine.handle import Handle
from larder_cache._engine.writes import stored_of
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.methods import ABANDON, RENEW, SET
from larder_cache.codecs import Codec
from larder_cache.durations import to_seconds, ttl_to_proto
from larder_cache.errors import EncodeError, LarderError
from larder_cache.results import Facts, Hit, Loaded, NotStored, Result, Stale, Stored

logger = logging.getLogger("larder_cache")

_LOST = {
    pb.RENEW_RESULT_LEASE_LOST: "LEASE_LOST",
    pb.RENEW_RESULT_INVALIDATED: "INVALIDATED",
    pb.RENEW_RESULT_SUPERSEDED: "SUPERSEDED",
}
_REASON_BYTES = 256
# A lease is renewed at most this often, however short it is.
_SHORTEST = 0.01


class Call(Protocol):
    """The call that a computation is for."""

    handle: Handle
    key: str
    ttl: Any
    tags: tuple[str, ...]
    codec: Codec


class Lease:
    """The permission to compute one value."""

    __slots__ = ("degraded", "expires_in", "handle", "key", "lost", "params", "token")

    def __init__(
        self,
        handle: Handle,
        key: str,
        params: Mapping[str, str] | None,
        token: bytes,
        expires_in: float,
        degraded: bool,
    ) -> None:
        self.handle = handle
        self.key = key
        self.params = params
        self.token = token
        self.expires_in = expires_in
        self.degraded = degraded
        self.lost = ""
        """Why a fill would be refused; empty while the lease may be held."""

    async def renew(self) -> float | None:
        """Extends the lease. The seconds until the next time; None if it is lost."""
        handle = self.handle
        request = pb.RenewRequest(
            namespace=handle.name, key=self.key, params=self.params, lease_token=self.token
        )
        try:
            answer = await handle.engine.rpc(RENEW, request, handle.timeout)
        except LarderError as error:
            if not error.outage:
                logger.warning("lease of %r cannot be renewed: %s", self.key, error)
                return None
            return self.interval
        if answer.result == pb.RENEW_RESULT_RENEWED:
            self.expires_in = to_seconds(answer.expires_in)
        elif answer.result in _LOST:
            self.lost = _LOST[answer.result]
            return None
        return self.interval

    @property
    def interval(self) -> float:
        """Seconds between two renewals."""
        return max(self.expires_in / 3, _SHORTEST)

    async def abandon(self, reason: str, *, pass_on: bool = False) -> None:
        """Releases the lease without a value."""
        if self.degraded or self.lost:
            return
        handle = self.handle
        request = pb.AbandonRequest(
            namespace=handle.name,
            key=self.key,
            params=self.params,
            lease_token=self.token,
            reason=reason.encode()[:_REASON_BYTES].decode(errors="ignore"),
            pass_on=pass_on,
        )
        try:
            await handle.engine.rpc(ABANDON, request, handle.timeout, always=True)
        except LarderError as error:
            # The lease expires by itself.
            logger.debug("lease of %r cannot be abandoned: %s", self.key, error)

    async def fill(self, encoded: pb.Value, ttl: Any, tags: tuple[str, ...]) -> Stored | NotStored:
        """Stores the value with the token."""
        handle = self.handle
        request = pb.SetRequest(
            namespace=handle.name,
            key=self.key,
            params=self.params,
            value=encoded,
            ttl=ttl,
            tags=tags,
            lease_token=self.token,
        )
        try:
            answer = await handle.engine.rpc(
                SET, request, handle.timeout, handle.counters, repeat=False, always=True
            )
        except LarderError as error:
            handle.counters.errors += 1
            if error.outage:
                return NotStored("UNAVAILABLE", True, error)
            logger.warning("the value of %r is not stored: %s", self.key, error)
            return NotStored("NOT_STORED", False, error)
        finally:
            hub = handle.engine.near_hub
            if hub is not None:
                hub.wrote(handle.name, self.key)
        return stored_of(answer)


async def compute(
    call: Call, lease: Lease, loader: Callable[..., Any], stale: Result[Any] | None
) -> Result[Any]:
    """Runs the loader under a lease, and fills the entry."""
    handle = call.handle
    io = handle.engine.io
    counters = handle.counters
    counters.loads += 1
    renewing = None if lease.degraded else io.every(lease.interval, lease.renew)
    try:
        try:
            loaded = await io.load(loader)
        finally:
            if renewing is not None:
                renewing.stop()
    except Exception as error:
        counters.load_errors += 1
        reason = type(error).__name__
        try:
            await lease.abandon(reason)
        except BaseException:
            await io.detached(lambda: lease.abandon(reason))
            raise
        if stale is not None:
            return Stale(stale.value, stale._facts, error=error)
        raise
    except BaseException:
        # The caller is cancelled or interrupted: the computation did not fail.
        await io.detached(lambda: lease.abandon("cancelled", pass_on=True))
        raise
    try:
        value, ttl, tags, keep = unpack(call, loaded)
        stored = await store(call, lease, value, ttl, tags, keep)
    except BaseException:
        # A fill that is cancelled may not have reached the server.
        await io.detached(lambda: lease.abandon("not filled", pass_on=True))
        raise
    return computed(value, stored, tags, lease.degraded)


def unpack(call: Call, loaded: Any) -> tuple[Any, Any, tuple[str, ...], bool]:
    """Value, TTL, tags, and whether to store, of what a loader returned."""
    if isinstance(loaded, Loaded):
        ttl = call.ttl if loaded.ttl is None else ttl_to_proto(loaded.ttl)
        tags = loaded.tags
        if call.tags and tags:
            tags = tuple(dict.fromkeys(call.tags + tags))
        return loaded.value, ttl, tags or call.tags, loaded.store
    return loaded, call.ttl, call.tags, True


async def store(
    call: Call, lease: Lease, value: Any, ttl: Any, tags: tuple[str, ...], keep: bool
) -> Stored | NotStored:
    """Fills the entry, or gives the lease up; counted."""
    stored = await _fill(call, lease, value, ttl, tags, keep)
    if not stored and keep:
        call.handle.counters.fills_refused += 1
    return stored


async def _fill(
    call: Call, lease: Lease, value: Any, ttl: Any, tags: tuple[str, ...], keep: bool
) -> Stored | NotStored:
    if lease.degraded:
        return NotStored("DEGRADED", True)
    if lease.lost:
        return NotStored(lease.lost)
    if not keep or ttl is False:
        await lease.abandon("not cacheable", pass_on=True)
        return NotStored("EXPIRED" if keep else "NOT_STORED")
    try:
        encoded = call.handle.encode(value, call.codec)
    except EncodeError as error:
        logger.warning("the value of %r is not stored: %s", call.key, error)
        await lease.abandon(type(error).__name__, pass_on=True)
        return NotStored("NOT_ENCODABLE", False, error)
    stored = await lease.fill(encoded, ttl, tags)
    if isinstance(stored, NotStored) and stored.reason == "NOT_STORED":
        # A value that the server refuses, such as one that is too large: the lease is still held.
        await lease.abandon("not stored", pass_on=True)
    return stored


def computed(
    value: Any,
    stored: Stored | NotStored | None,
    tags: tuple[str, ...],
    degraded: bool,
    error: Exception | None = None,
) -> Result[Any]:
    """The result for a value that a loader returned."""
    if isinstance(stored, Stored):
        facts = Facts(stored.version, 0.0, stored.ttl, tuple(sorted(tags)), "loader")
    else:
        facts = Facts(tier="loader", tags=tuple(sorted(tags)))
    return Hit(value, facts, degraded=degraded, error=error, stored=stored)


async def compute_unstored(
    call: Call, loader: Callable[..., Any], miss: Result[Any]
) -> Result[Any]:
    """Runs the loader without a lease."""
    counters = call.handle.counters
    counters.loads += 1
    try:
        loaded = await call.handle.engine.io.load(loader)
    except Exception:
        counters.load_errors += 1
        raise
    value, _, tags, _ = unpack(call, loaded)
    error = miss.error
    reason = "UNAVAILABLE" if miss.degraded else "NOT_STORED"
    stored = NotStored(reason, miss.degraded, error)
    counters.fills_refused += 1
    return computed(value, stored, tags, miss.degraded, error)
