"""Event loops: one after the other, at the same time, of asyncio and of uvloop."""

from __future__ import annotations

import asyncio
from functools import partial

import grpc.aio
import pytest

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen.cache_service_pb2_grpc import CacheServiceStub
from processes.support import needs, script, side_by_side


def test_one_client_in_many_loops(target: str) -> None:
    needs("uvloop")

    def case(kind: str) -> None:
        left = script("loops.py", target, kind)
        assert left == {"tasks": [], "channels": 0, "threads": []}

    side_by_side({kind: partial(case, kind) for kind in ("asyncio", "uvloop")})


@pytest.mark.xfail(raises=RuntimeError, strict=True, reason="a channel belongs to its loop")
def test_naive_channel(target: str) -> None:
    stubs: list[CacheServiceStub] = []

    async def call() -> None:
        if not stubs:
            stubs.append(CacheServiceStub(grpc.aio.insecure_channel(target)))
        await stubs[0].Get(pb.GetRequest(namespace="naive", key="k"))

    asyncio.run(call())
    asyncio.run(call())
