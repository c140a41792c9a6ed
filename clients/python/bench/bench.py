"""Measures the client beside the raw stubs, on the same server and in turns.

    LARDER_BIN=target/release/larder python clients/python/bench/bench.py [SECONDS]

It prints calls per second, and the share of the raw stubs' that the client reaches.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from larder_cache import AsyncClient, Client
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen import cache_service_pb2_grpc
from larder_cache.testing import LarderServer

VALUE = "x" * 1024
KEYS = [f"key{number}" for number in range(100)]
TASKS = 32
ROUNDS = 7


def rate(call: Callable[[], Any], seconds: float) -> float:
    """Calls per second of one thread."""
    count, end = 0, time.perf_counter() + seconds
    start = time.perf_counter()
    while time.perf_counter() < end:
        for _ in range(20):
            call()
        count += 20
    return count / (time.perf_counter() - start)


async def async_rate(call: Callable[[], Awaitable[Any]], seconds: float) -> float:
    """Calls per second of all tasks together."""
    end = time.perf_counter() + seconds

    async def work() -> int:
        count = 0
        while time.perf_counter() < end:
            await call()
            count += 1
        return count

    start = time.perf_counter()
    counts = await asyncio.gather(*(work() for _ in range(TASKS)))
    return sum(counts) / (time.perf_counter() - start)


def report(name: str, raw: list[float], own: list[float]) -> None:
    """Prints the medians, and the median of the shares of each round."""
    share = statistics.median(b / a for a, b in zip(raw, own))
    print(
        f"{name:22} raw {statistics.median(raw):9,.0f}/s  client {statistics.median(own):9,.0f}/s"
        f"  {share:5.2f}  {1e6 / statistics.median(own):7.2f} us per call",
        flush=True,
    )


def blocking(target: str, seconds: float) -> None:
    """get, get_many and a hit of the near cache, in one thread."""
    client = Client(target, preset="local", on_error="raise")
    ns = client.namespace("bench")
    ns.set("key", VALUE)
    ns.set_many(dict.fromkeys(KEYS, VALUE))
    stub = cache_service_pb2_grpc.CacheServiceStub(grpc.insecure_channel(target))

    def raw_get() -> Any:
        return stub.Get(pb.GetRequest(namespace="bench", key="key"), timeout=5).value.text

    def raw_many() -> Any:
        refs = [pb.KeyRef(namespace="bench", key=key) for key in KEYS]
        values = {}
        index = 0
        for message in stub.BatchGet(pb.BatchGetRequest(keys=refs), timeout=5):
            for result in message.results:
                values[KEYS[index]] = result.value.text
                index += 1
        return values

    for name, raw, own in [
        ("get, 1 thread", raw_get, lambda: ns.get("key").value),
        ("get_many of 100", raw_many, lambda: ns.get_many(KEYS)),
    ]:
        pairs = [(rate(raw, seconds), rate(own, seconds)) for _ in range(ROUNDS)]
        report(name, [a for a, _ in pairs], [b for _, b in pairs])

    near = client.namespace("bench", near_cache=True)
    deadline = time.monotonic() + 5
    while near.get("key").tier != "client":
        assert time.monotonic() < deadline, "the near cache keeps nothing"
        time.sleep(0.01)
    hits = [rate(lambda: near.get("key").value, seconds) for _ in range(ROUNDS)]
    print(f"{'hit of the near cache':22} {1e6 / statistics.median(hits):7.2f} us")
    client.close()


async def asynchronous(target: str, seconds: float) -> None:
    """get with 32 tasks."""
    async with AsyncClient(target, preset="local", on_error="raise") as client:
        ns = client.namespace("bench")
        async with grpc.aio.insecure_channel(target) as channel:
            stub = cache_service_pb2_grpc.CacheServiceStub(channel)

            async def raw() -> Any:
                answer = await stub.Get(pb.GetRequest(namespace="bench", key="key"), timeout=5)
                return answer.value.text

            async def own() -> Any:
                return (await ns.get("key")).value

            raws, owns = [], []
            for _ in range(ROUNDS):
                raws.append(await async_rate(raw, seconds))
                owns.append(await async_rate(own, seconds))
            report(f"get, {TASKS} tasks", raws, owns)


def main() -> None:
    """Runs everything on a server of its own."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with LarderServer() as server:
        blocking(server.target, seconds)
        asyncio.run(asynchronous(server.target, seconds))


if __name__ == "__main__":
    main()
