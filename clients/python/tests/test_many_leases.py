"""The leases of get_or_fetch_many, with a server that answers as it is scripted to."""

from __future__ import annotations

import asyncio
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from setups import Loop, Setup, until

from larder_cache import AsyncClient, Unavailable
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen import cache_service_pb2_grpc


class Scripted(cache_service_pb2_grpc.CacheServiceServicer):
    """Grants a lease for each key, but for "broken", and keeps the order of the calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fills_go = threading.Event()
        self.fills_go.set()

    def BatchGetOrFetch(self, request: pb.BatchGetOrFetchRequest, context: Any) -> Any:
        answer = pb.BatchGetOrFetchResponse()
        for ref in request.keys:
            result = answer.results.add()
            if ref.key == "broken":
                result.error.message = "the store is away"
                result.error.reason = "STORE_UNAVAILABLE"
            else:
                result.answer.lease.token = ref.key.encode()
                result.answer.lease.expires_in.FromMilliseconds(300)
        yield answer

    def BatchSet(self, request: pb.BatchSetRequest, context: Any) -> pb.BatchSetResponse:
        self.calls.append(("fill", [item.key for item in request.items]))
        assert self.fills_go.wait(10)
        answer = pb.BatchSetResponse()
        for _ in request.items:
            answer.results.add(result=pb.SET_RESULT_STORED)
        return answer

    def Abandon(self, request: pb.AbandonRequest, context: Any) -> pb.AbandonResponse:
        self.calls.append(("abandon", request.key, request.pass_on))
        return pb.AbandonResponse()

    def Renew(self, request: pb.RenewRequest, context: Any) -> pb.RenewResponse:
        self.calls.append(("renew", request.key))
        answer = pb.RenewResponse(result=pb.RENEW_RESULT_RENEWED)
        answer.expires_in.FromMilliseconds(300)
        return answer


@pytest.fixture
def scripted(tmp_path: Path) -> Any:
    made = Scripted()
    server = grpc.server(futures.ThreadPoolExecutor(8))
    cache_service_pb2_grpc.add_CacheServiceServicer_to_server(made, server)
    made.target = f"unix:{tmp_path}/socket"  # type: ignore[attr-defined]
    server.add_insecure_port(made.target)  # type: ignore[attr-defined]
    server.start()
    yield made
    server.stop(0).wait()


def test_leases_are_passed_on_if_another_key_fails(scripted: Any, on_fake: Setup) -> None:
    ns = on_fake.client(target=scripted.target, on_error="raise").namespace("a")
    with pytest.raises(Unavailable, match="the store is away"):
        ns.get_or_fetch_many(["a", "broken", "b"], lambda keys: dict.fromkeys(keys, 1))
    assert scripted.calls == [("abandon", "a", True), ("abandon", "b", True)]


def test_fills_come_first_and_keep_their_leases(scripted: Any, on_fake: Setup) -> None:
    ns = on_fake.client(target=scripted.target, on_error="raise").namespace("a")
    scripted.fills_go.clear()
    with futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(ns.get_or_fetch_many, ["none", "a"], lambda keys: {"a": 1})
        until(lambda: ("fill", ["a"]) in scripted.calls)
        try:
            until(lambda: ("renew", "a") in scripted.calls)
        finally:
            scripted.fills_go.set()
        assert running.result(10)["a"].stored
    others = [call for call in scripted.calls if call[0] != "renew"]
    assert others == [("fill", ["a"]), ("abandon", "none", True)]


def test_cancelled_fills_give_up_their_leases(scripted: Any, loop: Loop) -> None:
    scripted.fills_go.clear()

    async def work() -> None:
        async with AsyncClient(scripted.target) as client:
            ns = client.namespace("a")
            task = asyncio.create_task(
                ns.get_or_fetch_many(["a", "b"], lambda keys: dict.fromkeys(keys, 1))
            )
            while ("fill", ["a", "b"]) not in scripted.calls:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    try:
        loop.run(asyncio.wait_for(work(), 10))
    finally:
        scripted.fills_go.set()
    abandoned = [call for call in scripted.calls if call[0] == "abandon"]
    assert abandoned == [("abandon", "a", True), ("abandon", "b", True)]
