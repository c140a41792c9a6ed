"""The example that applications copy, beyond the happy path."""

import asyncio
import os
import threading
import time

import grpc
import pytest
from get_or_compute import ComputeFailed, get_or_compute, get_or_compute_async
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

            # The lease of a caller that is cancelled goes back at once.
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
            answer = await larder.GetOrFetch(request)
            assert (answer.WhichOneof("outcome"), answer.cause) == ("contended", "CancelledError")

    asyncio.run(session())
