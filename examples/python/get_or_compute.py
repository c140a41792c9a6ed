"""GetOrFetch with a lease, for values that the application computes: one caller computes, all
others wait for its value. Copy this file. `get_or_compute` is for threads, and
`get_or_compute_async` for asyncio.

`compute` returns what `json.dumps` takes; None means that there is no such value, and is cached
too. `cancelled` is a `threading.Event` that ends the waits of a caller that has gone; asyncio has
cancellation of its own. `compute` must end within the namespace's `lease_ttl` (10 s); use FetchStream for longer ones.
"""

import asyncio
import contextlib
import json
import threading
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
# How often a caller that waits looks whether it is cancelled.
POLL = 0.05


class ComputeFailed(Exception):
    """The last computation failed, and none is due before the back-off is over."""


class Cancelled(Exception):
    """The caller has gone: its `cancelled` event is set."""


def get_or_compute(
    larder, namespace, key, compute, *, params=None, ttl=None, timeout=5.0, cancelled=None
):
    """Returns the cached value, or the one that this caller or another one computes."""
    cancelled = cancelled or threading.Event()
    name = {"namespace": namespace, "key": key, "params": params or {}}
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{namespace}/{key} is still being computed")
        try:
            request = pb.GetOrFetchRequest(**name, wait=seconds(left))
            # The wait ends with `contended`. Only a Larder that is slow exceeds the deadline.
            answer = wait_for(larder.GetOrFetch.future(request, timeout=left + SHORT), cancelled)
        except grpc.RpcError as error:
            if error.code() in UNAVAILABLE:
                return compute()
            raise
        outcome = answer.WhichOneof("outcome")
        if outcome == "found":
            return value_of(answer.found)
        if outcome == "contended":
            if cancelled.wait(retry_delay(answer, deadline)):
                raise Cancelled
            continue
        if answer.degraded:
            # Redis is down: no caller holds the lease, and nothing would be stored.
            return compute()
        try:
            if cancelled.is_set():
                raise Cancelled
            value = compute()
            # Here, so that a value that is not JSON gives the lease back as well.
            request = fill(name, answer.lease, value, ttl)
        # Also KeyboardInterrupt and SystemExit: the others should not wait for the lease to expire.
        except BaseException as error:
            with contextlib.suppress(grpc.RpcError):
                larder.Abandon(abandon(name, answer.lease, error), timeout=SHORT)
            if is_failure(error) and answer.lease.HasField("stale"):
                return value_of(answer.lease.stale)
            raise
        try:
            larder.Set(request, timeout=SHORT)
        except grpc.RpcError as error:
            # The value is right, although it is not stored: too large, NaN, or Larder is down. The
            # others must not wait for it.
            with contextlib.suppress(grpc.RpcError):
                larder.Abandon(abandon(name, answer.lease, error), timeout=SHORT)
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
            request = fill(name, answer.lease, value, ttl)
        # Also CancelledError: the caller has gone. The task outlives it.
        except BaseException as error:
            await give_back(larder, name, answer.lease, error)
            if is_failure(error) and answer.lease.HasField("stale"):
                return value_of(answer.lease.stale)
            raise
        try:
            await larder.Set(request, timeout=SHORT)
        except grpc.RpcError as error:
            await give_back(larder, name, answer.lease, error)
        except asyncio.CancelledError as error:
            await give_back(larder, name, answer.lease, error)
            raise
        return value


async def give_back(larder, name, lease, error):
    """Abandons the lease, also if the task is being cancelled."""

    async def call():
        with contextlib.suppress(grpc.RpcError):
            await larder.Abandon(abandon(name, lease, error), timeout=SHORT)

    await asyncio.shield(asyncio.ensure_future(call()))


def wait_for(call, cancelled):
    """The answer of a call, which is ended when the caller has gone."""
    done = threading.Event()
    call.add_done_callback(lambda _: done.set())
    while not done.wait(POLL):
        if cancelled.is_set():
            call.cancel()
            raise Cancelled
    return call.result()


def is_failure(error):
    """Whether a stale value is better than the error: not for a caller that has gone."""
    return isinstance(error, Exception) and not isinstance(error, Cancelled)


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
    # Callers that wait receive the reason, so it must not contain secrets. At most 256 bytes. A
    # caller that has gone passes the lease on, without the back-off of a failure.
    return pb.AbandonRequest(
        **name,
        lease_token=lease.token,
        reason=type(error).__name__,
        pass_on=not is_failure(error),
    )


def retry_delay(answer, deadline):
    if answer.fetch_status == pb.FETCH_STATUS_FAILED:
        raise ComputeFailed(answer.cause)
    delay = answer.contended.retry_after.ToTimedelta().total_seconds()
    return max(0.0, min(delay, deadline - time.monotonic()))


def seconds(number):
    return timedelta(seconds=number)
