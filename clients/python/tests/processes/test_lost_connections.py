"""Connections that died in silence: reads fail open, and the client gets a new connection."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from larder_cache import AsyncClient, Client
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen.cache_service_pb2_grpc import CacheServiceStub
from larder_cache._transport import loop_state
from larder_cache.events import Ready, Reset
from processes.proxies import Proxy

# Five calls of 0.5 s open the breaker, which lets a call through after at most 0.75 s.
LIMIT = 6.0
OPTIONS: list[dict[str, Any]] = [
    {"preset": "service"},
    {"preset": "local", "call_timeout": 0.5},
    {"preset": "lambda", "call_timeout": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_blocking(target: str, options: dict[str, Any]) -> None:
    with Proxy(target) as proxy, Client(proxy.target, **options) as client:
        entries = client.namespace("lost")
        assert entries.set("k", 1) and entries.get("k").value == 1
        proxy.lose_connections()
        began = time.monotonic()
        while not (result := entries.get("k")).found:
            assert result.degraded
            assert time.monotonic() - began < LIMIT, result
            time.sleep(0.02)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_asyncio(target: str, options: dict[str, Any]) -> None:
    async def main(address: str, lose: Any) -> None:
        async with AsyncClient(address, **options) as client:
            entries = client.namespace("lost")
            assert await entries.set("k", 1)
            assert (await entries.get("k")).value == 1
            lose()
            began = time.monotonic()
            while not (result := await entries.get("k")).found:
                assert result.degraded
                assert time.monotonic() - began < LIMIT, result
                await asyncio.sleep(0.02)

    with Proxy(target) as proxy:
        asyncio.run(main(proxy.target, proxy.lose_connections))


def test_asyncio_calls_of_a_replaced_connection(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream is a Reset, and a call is made again: no task is cancelled."""
    monkeypatch.setattr(loop_state, "_GRACE", 0.05)

    async def main() -> None:
        async with AsyncClient(target) as client, AsyncClient(target) as other:
            entries = client.namespace("replaced")
            await entries.invalidate_namespace()
            events = entries.watch()
            assert isinstance(await anext(events), Ready)
            computing, go = asyncio.Event(), asyncio.Event()

            async def load() -> str:
                computing.set()
                await go.wait()
                return "computed"

            leader = asyncio.create_task(
                other.namespace("replaced").get_or_fetch("k", load, timeout=20)
            )
            await computing.wait()
            waiting = asyncio.create_task(entries.get_or_fetch("k", lambda: "own", timeout=20))
            while len(client._io.state().calls.active) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            client._io.reconnect()
            reset = await asyncio.wait_for(anext(events), 10)
            assert reset == Reset("DISCONNECTED")
            assert isinstance(await asyncio.wait_for(anext(events), 10), Ready)
            go.set()
            assert (await leader).stored
            assert (await asyncio.wait_for(waiting, 10)).value == "computed"
            await events.aclose()

    asyncio.run(main())


def test_lambda_after_idle(target: str) -> None:
    """The first call already has a new connection."""
    with Proxy(target) as proxy, Client(proxy.target, preset="lambda", max_idle=0.5) as client:
        entries = client.namespace("lost")
        assert entries.set("k", 1) and entries.get("k").value == 1
        proxy.lose_connections()
        idle_until = time.monotonic() + 0.6
        while time.monotonic() < idle_until:
            time.sleep(0.05)
        assert entries.get("k").value == 1


@pytest.mark.xfail(raises=TimeoutError, strict=True, reason="the bare library keeps the connection")
def test_naive_channel(target: str) -> None:
    with Proxy(target) as proxy, grpc.insecure_channel(proxy.target) as channel:
        stub = CacheServiceStub(channel)
        request = pb.GetRequest(namespace="lost", key="k")
        stub.Get(request, timeout=5)
        proxy.lose_connections()
        for _ in range(6):
            try:
                stub.Get(request, timeout=0.5)
                return
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        raise TimeoutError
