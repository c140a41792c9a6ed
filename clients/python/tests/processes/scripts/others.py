"""A fork while another library has a channel of its own, which this one cannot close."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import grpc
import grpc.aio

from larder_cache import AsyncClient, Client, LarderError
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen.cache_service_pb2_grpc import CacheServiceStub

TARGET = os.environ["LARDER_ENDPOINT"]
request = pb.GetRequest(namespace="others", key="k")
client = Client(preset="local", on_error="raise")
async_client = AsyncClient(preset="local", on_error="raise")
entries = client.namespace("others")
entries.set("k", 1)


def in_child() -> int:
    """0 if the client works, 1 if it says that it cannot; both soon."""
    began = time.monotonic()
    code = 0
    try:
        if sys.argv[1] == "asyncio":
            asyncio.run(async_client.namespace("others").get("k"))
        else:
            entries.get("k")
    except LarderError as error:
        code = 1 if "its parent process had channels" in str(error) else 2
    return code if time.monotonic() - began < 2 else 3


def fork() -> int:
    """Forks. Returns the exit code of the child."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            code = in_child()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def with_channel_of_asyncio() -> int:
    """Forks while a channel of grpc.aio is open."""
    async with grpc.aio.insecure_channel(TARGET) as channel:
        await CacheServiceStub(channel).Get(request, timeout=10)
        await async_client.namespace("others").get("k")
        return fork()


if sys.argv[1] == "asyncio":
    code = asyncio.run(with_channel_of_asyncio())
else:
    with grpc.insecure_channel(TARGET) as channel:
        CacheServiceStub(channel).Get(request, timeout=10)
        code = fork()
assert entries.get("k").value == 1
print(json.dumps(code))
