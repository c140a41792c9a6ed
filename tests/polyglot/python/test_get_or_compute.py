"""The example that applications copy, beyond the happy path."""

import asyncio
import concurrent.futures
import os
import threading
import time
from datetime import timedelta

import grpc
import pytest
from get_or_compute import Cancelled, ComputeFailed, get_or_compute, get_or_compute_async
from larder.v1 import cache_service_pb2 as pb
from larder.v1.cache_service_pb2_grpc import CacheServiceStub


def never():
    raise AssertionError("computed without need")


def in_threads(count, work):
    """Runs `work` in threads, and returns the result or the error of each."""
    results = []

    def run():
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_one_of_many_computes(larder, namespace):
    computed = []

    def compute():
        computed.append(1)
        time.sleep(0.2)
        return {"name": "Ada"}

    call = lambda: get_or_compute(larder, namespace, "k", compute, params={"id": "1"}, ttl=60)
    assert in_threads(5, call) == [{"name": "Ada"}] * 5
    assert len(computed) == 1
    assert call() == {"name": "Ada"}


def test_nothing_is_cached_too(larder, namespace):
    assert get_or_compute(larder, namespace, "k", lambda: None) is None
    assert get_or_compute(larder, namespace, "k", never) is None


def test_a_failure_reaches_the_others_at_once(larder, namespace):
    started = threading.Event()

    def compute():
        started.set()
        time.sleep(0.3)
        raise LookupError("secret")

    began = time.monotonic()
    results = in_threads(4, lambda: get_or_compute(larder, namespace, "k", compute))
    assert time.monotonic() - began < 3
    kinds = sorted(type(result).__name__ for result in results)
    assert kinds == ["ComputeFailed", "ComputeFailed", "ComputeFailed", "LookupError"]
    causes = {str(result) for result in results if isinstance(result, ComputeFailed)}
    assert causes == {"LookupError"}


def test_another_caller_takes_too_long(larder, namespace):
    larder.GetOrFetch(pb.GetOrFetchRequest(namespace=namespace, key="k"))
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        get_or_compute(larder, namespace, "k", never, timeout=0.5)
    assert time.monotonic() - began < 3


def test_mistakes_are_raised(larder, namespace):
    with pytest.raises(grpc.RpcError) as raised:
        get_or_compute(larder, namespace, "", never)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_larder_is_down():
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        began = time.monotonic()
        assert get_or_compute(CacheServiceStub(channel), "ns", "k", lambda: 7) == 7
        assert time.monotonic() - began < 3


def test_asyncio(namespace):
    async def session():
        async with grpc.aio.insecure_channel(os.environ["LARDER_ADDRESS"]) as channel:
            larder = CacheServiceStub(channel)
            computed = []

            async def compute():
                computed.append(1)
                await asyncio.sleep(0.2)
                return [1]

            call = lambda: get_or_compute_async(larder, namespace, "k", compute)
            assert await asyncio.gather(*(call() for _ in range(5))) == [[1]] * 5
            assert len(computed) == 1

            # The lease of a caller that is cancelled is passed on at once.
            computing = asyncio.Event()

            async def endless():
                computing.set()
                await asyncio.sleep(60)

            task = asyncio.create_task(
                get_or_compute_async(larder, namespace, "cancelled", endless)
            )
            await asyncio.wait_for(computing.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            request = pb.GetOrFetchRequest(namespace=namespace, key="cancelled")
            answer = await larder.GetOrFetch(request, timeout=5)
            assert answer.WhichOneof("outcome") == "lease"

    asyncio.run(session())


def not_json():
    return {1, 2}


@pytest.mark.parametrize("compute", [not_json, lambda: "x" * 2_000_000, lambda: float("nan")])
def test_a_value_that_cannot_be_stored_gives_the_lease_back(larder, namespace, compute):
    for key, call in (("k", get_or_compute), ("a", None)):
        if call:
            if compute is not_json:
                with pytest.raises(TypeError):
                    call(larder, namespace, key, compute)
            else:
                call(larder, namespace, key, compute)
        else:
            asyncio.run(fill_async(namespace, key, compute))
        assert is_given_back(larder, namespace, key)


async def fill_async(namespace, key, compute):
    async def computing():
        return compute()

    async with grpc.aio.insecure_channel(os.environ["LARDER_ADDRESS"]) as channel:
        call = get_or_compute_async(CacheServiceStub(channel), namespace, key, computing)
        if compute is not_json:
            with pytest.raises(TypeError):
                await call
        else:
            await call


def is_given_back(larder, namespace, key):
    request = pb.GetOrFetchRequest(namespace=namespace, key=key, wait=timedelta(0))
    return larder.GetOrFetch(request).fetch_status == pb.FETCH_STATUS_FAILED


def test_a_cancelled_thread_stops_waiting_and_gives_its_lease_back(larder, namespace):
    cancelled = threading.Event()

    def compute():
        cancelled.set()
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        get_or_compute(larder, namespace, "k", compute, cancelled=cancelled)
    assert is_given_back(larder, namespace, "k")

    held = pb.GetOrFetchRequest(namespace=namespace, key="held", wait=timedelta(0))
    assert larder.GetOrFetch(held).HasField("lease")
    cancelled.clear()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        get_or_compute(larder, namespace, "held", never, cancelled=cancelled)
    assert time.monotonic() - began < 3


class Scripted:
    """A stub whose GetOrFetch has one answer. It records the other calls."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []
        self.GetOrFetch = self

    def future(self, request, timeout):
        answered = concurrent.futures.Future()
        answered.set_result(self.answer)
        return answered

    def Set(self, request, timeout):
        self.calls.append("set")

    def Abandon(self, request, timeout):
        self.calls.append("abandon")


class ScriptedAsync(Scripted):
    async def __call__(self, request, timeout):
        return self.answer

    async def Set(self, request, timeout):
        self.calls.append("set")

    async def Abandon(self, request, timeout):
        self.calls.append("abandon")


def scripted(answer, compute):
    """What both functions make of an answer: a value or an error, and the calls."""

    async def computing():
        return compute()

    results = []
    for is_async in (False, True):
        larder = (ScriptedAsync if is_async else Scripted)(answer)
        try:
            if is_async:
                value = asyncio.run(get_or_compute_async(larder, "ns", "k", computing))
            else:
                value = get_or_compute(larder, "ns", "k", compute)
        except Exception as error:
            value = type(error)
        results.append((value, larder.calls))
    assert results[0] == results[1]
    return results[0]


def failing():
    raise OSError


def test_degraded_answers_leases_with_stale_values_and_negative_entries():
    lease = pb.Lease(token=b"x" * 16)
    degraded = pb.GetOrFetchResponse(lease=lease, degraded=True)
    assert scripted(degraded, lambda: 7) == (7, []), "nothing would be stored"
    assert scripted(degraded, failing) == (OSError, [])
    stale = pb.Found(outcome=pb.OUTCOME_STALE, value=pb.Value(json="1"))
    with_stale = pb.GetOrFetchResponse(lease=pb.Lease(token=b"x" * 16, stale=stale))
    assert scripted(with_stale, lambda: 7) == (7, ["set"])
    assert scripted(with_stale, failing) == (1, ["abandon"]), "better than an error"
    found = pb.GetOrFetchResponse(found=pb.Found(outcome=pb.OUTCOME_NEGATIVE))
    assert scripted(found, never) == (None, [])
