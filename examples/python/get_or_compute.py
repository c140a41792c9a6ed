"""GetOrFetch with a lease, for values that the application computes: one caller computes, all
others wait for its value. Copy this file. `get_or_compute` is for threads, and
`get_or_compute_async` for asyncio.

`compute` returns what `json.dumps` takes; None means that there is no such value, and is cached
too. It must end within the namespace's `lease_ttl` (10 s); use FetchStream for longer ones.
"""

import asyncio
import contextlib
import json
import time
from datetime import timedelta

import grpc

from larder.v1 import cache_service_pb2 as pb

# Larder is down, overloaded or slow: the application must not be. A mistake of the caller, such as
# INVALID_ARGUMENT, is raised.
UNAVAILABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
# Time limit for calls that must not hold the application up.
SHORT = 0.5


class ComputeFailed(Exception):
    """The last computation failed, and none is due before the back-off is over."""


def get_or_compute(larder, namespace, key, compute, *, params=None, ttl=None, timeout=5.0):
    """Returns the cached value, or the one that this caller or another one computes."""
    name = {"namespace": namespace, "key": key, "params": params or {}}
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{namespace}/{key} is still being computed")
        try:
            request = pb.GetOrFetchRequest(**name, wait=seconds(left))
            # The wait ends with `contended`. Only a Larder that is slow exceeds the deadline.
            answer = larder.GetOrFetch(request, timeout=left + SHORT)
        except grpc.RpcError as error:
            if error.code() in UNAVAILABLE:
                return compute()
            raise
        outcome = answer.WhichOneof("outcome")
        if outcome == "found":
            return value_of(answer.found)
        if outcome == "contended":
            time.sleep(retry_delay(answer, deadline))
            continue
        if answer.degraded:
            # Redis is down: nobody holds the lease, and nothing would be stored.
            return compute()
        try:
            value = compute()
        # Also KeyboardInterrupt and SystemExit: the others should not wait for the lease to expire.
        except BaseException as error:
            with contextlib.suppress(grpc.RpcError):
                larder.Abandon(abandon(name, answer.lease, error), timeout=SHORT)
            if isinstance(error, Exception) and answer.lease.HasField("stale"):
                return value_of(answer.lease.stale)
            raise
        # A fill that is refused or fails does not make the value wrong.
        with contextlib.suppress(grpc.RpcError):
            larder.Set(fill(name, answer.lease, value, ttl), timeout=SHORT)
        return value


async def get_or_compute_async(
    larder, namespace, key, compute, *, params=None, ttl=None, timeout=5.0
):
    """As `get_or_compute`, with a stub on a `grpc.aio` channel and a coroutine function."""
    name = {"namespace": namespace, "key": key, "params": params or {}}
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{namespace}/{key} is still being computed")
        try:
            request = pb.GetOrFetchRequest(**name, wait=seconds(left))
            answer = await larder.GetOrFetch(request, timeout=left + SHORT)
        except grpc.RpcError as error:
            if error.code() in UNAVAILABLE:
                return await compute()
            raise
        outcome = answer.WhichOneof("outcome")
        if outcome == "found":
            return value_of(answer.found)
        if outcome == "contended":
            await asyncio.sleep(retry_delay(answer, deadline))
            continue
        if answer.degraded:
            return await compute()
        try:
            value = await compute()
        # Also CancelledError: the caller has gone. The task outlives it.
        except BaseException as error:
            abandoning = asyncio.ensure_future(
                larder.Abandon(abandon(name, answer.lease, error), timeout=SHORT)
            )
            with contextlib.suppress(grpc.RpcError):
                await asyncio.shield(abandoning)
            if isinstance(error, Exception) and answer.lease.HasField("stale"):
                return value_of(answer.lease.stale)
            raise
        with contextlib.suppress(grpc.RpcError):
            await larder.Set(fill(name, answer.lease, value, ttl), timeout=SHORT)
        return value


def value_of(found):
    if found.outcome == pb.OUTCOME_NEGATIVE:
        return None
    return json.loads(found.value.json)


def fill(name, lease, value, ttl):
    return pb.SetRequest(
        **name,
        value=pb.Value(json=json.dumps(value)),
        ttl=seconds(ttl) if ttl else None,
        lease_token=lease.token,
    )


def abandon(name, lease, error):
    # Callers that wait are told the reason, so it must not contain secrets. At most 256 bytes.
    return pb.AbandonRequest(**name, lease_token=lease.token, reason=type(error).__name__)


def retry_delay(answer, deadline):
    if answer.fetch_status == pb.FETCH_STATUS_FAILED:
        raise ComputeFailed(answer.cause)
    delay = answer.contended.retry_after.ToTimedelta().total_seconds()
    return max(0.0, min(delay, deadline - time.monotonic()))


def seconds(number):
    return timedelta(seconds=number)
