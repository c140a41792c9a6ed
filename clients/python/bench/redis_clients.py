"""Measures the client beside redis-py, on the same Redis and in turns.

    LARDER_BIN=target/release/larder python clients/python/bench/redis_clients.py [SECONDS]

A read through Larder is one more hop, and decodes more than the bytes that Redis has: this is what
it costs. redis-py reads the same 1 KiB.
"""

from __future__ import annotations

import asyncio
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis
import redis.asyncio

from larder_cache import AsyncClient, Client
from larder_cache.testing import LarderServer

VALUE = "x" * 1024
KEYS = [f"key{number}" for number in range(100)]
TASKS = 32
ROUNDS = 5


def rate(call: Callable[[], Any], seconds: float) -> float:
    """Calls per second of one thread."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(20):
            call()
        count += 20
    return count / (time.perf_counter() - start)


async def async_rate(call: Callable[[], Awaitable[Any]], seconds: float) -> float:
    """Calls per second of all tasks together."""
    start = time.perf_counter()

    async def work() -> int:
        count = 0
        while time.perf_counter() - start < seconds:
            await call()
            count += 1
        return count

    counts = await asyncio.gather(*(work() for _ in range(TASKS)))
    return sum(counts) / (time.perf_counter() - start)


def report(name: str, theirs: list[float], own: list[float]) -> None:
    """Prints the medians, and the median of the ratios of each round."""
    ratio = statistics.median(b / a for a, b in zip(theirs, own))
    print(
        f"{name:24} redis-py {statistics.median(theirs):9,.0f}/s  "
        f"larder {statistics.median(own):9,.0f}/s  ratio {ratio:.2f}",
        flush=True,
    )


def blocking(socket: pathlib.Path, target: str, seconds: float) -> None:
    direct = redis.Redis(unix_socket_path=str(socket), decode_responses=True)
    with Client(target, preset="local") as client:
        items = client.namespace("bench")
        for key in KEYS:
            direct.set(key, VALUE)
            items.set(key, VALUE)
        pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
            ("get", lambda: direct.get("key1"), lambda: items.get("key1").value),
            ("get_many of 100", lambda: direct.mget(KEYS), lambda: items.get_many(KEYS)),
            (
                "set",
                lambda: direct.set("key1", VALUE, ex=300),
                lambda: items.set("key1", VALUE, ttl=300),
            ),
        ]
        for name, theirs, own in pairs:
            rounds = [(rate(theirs, seconds), rate(own, seconds)) for _ in range(ROUNDS)]
            report(name, [a for a, _ in rounds], [b for _, b in rounds])
    direct.close()


async def asynchronous(socket: pathlib.Path, target: str, seconds: float) -> None:
    direct = redis.asyncio.Redis(unix_socket_path=str(socket), decode_responses=True)
    async with AsyncClient(target, preset="local") as client:
        items = client.namespace("bench")
        rounds = []
        for _ in range(ROUNDS):
            theirs = await async_rate(lambda: direct.get("key1"), seconds)
            rounds.append((theirs, await async_rate(lambda: items.get("key1"), seconds)))
        report(f"get, asyncio, {TASKS} tasks", [a for a, _ in rounds], [b for _, b in rounds])
    await direct.aclose()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as folder:
        socket = pathlib.Path(folder) / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while not socket.exists():
                if time.monotonic() > deadline:
                    raise SystemExit("redis-server did not start")
                time.sleep(0.05)
            with LarderServer(store=f"unix://{socket}") as server:
                blocking(socket, server.target, seconds)
                asyncio.run(asynchronous(socket, server.target, seconds))
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
