"""`close` while calls run: each of them ends, soon, with a result or with `ClientClosed`."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from larder_cache import AsyncClient, Client, LarderError
from larder_cache.errors import ClientClosed
from processes.test_threads import larder_threads

# Wide, but far from the 60 s that the calls have.
SOON = 15.0


@pytest.fixture
def key() -> str:
    """A key that is computed by a client that does not answer."""
    return f"k-{uuid.uuid4().hex}"


def outcome(call: Callable[[], Any]) -> str:
    """The name of what a call ends with. Errors that are not the library's pass."""
    try:
        call()
    except LarderError as error:
        return type(error).__name__
    return "result"


def test_blocking(target: str, key: str) -> None:
    client = Client(target, preset="local", call_timeout=60, fetch_margin=60)
    entries = client.namespace("closing")
    near = client.namespace("closing-near", near_cache=True)
    holder = Client(target, preset="local")
    loading, release = threading.Event(), threading.Event()

    def load() -> str:
        loading.set()
        release.wait(SOON)
        return "late"

    leader = threading.Thread(target=lambda: holder.namespace("closing").get_or_fetch(key, load))
    leader.start()
    assert loading.wait(SOON)
    outcomes: dict[str, list[str]] = {}

    def again_and_again(name: str, call: Callable[[], Any]) -> None:
        seen = outcomes[name] = []
        while not seen or seen[-1] == "result":
            seen.append(outcome(call))

    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: entries.get(key),
        "set": lambda: entries.set(f"{key}-set", 1),
        "many": lambda: entries.get_many([key, "other"]),
        "near": lambda: near.get(key),
        "waiting": lambda: entries.get_or_fetch(key, lambda: "mine", timeout=50),
        "watch": lambda: list(entries.watch()),
    }
    threads = [threading.Thread(target=again_and_again, args=each) for each in calls.items()]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    client.close()
    for thread in threads:
        thread.join(SOON)
    took = time.monotonic() - began
    release.set()
    leader.join()
    holder.close()
    assert not any(thread.is_alive() for thread in threads), outcomes
    assert took < SOON
    assert {name: seen[-1] for name, seen in outcomes.items()} == dict.fromkeys(
        calls, "ClientClosed"
    )
    with pytest.raises(ClientClosed):
        entries.get(key)
    client.close()
    assert larder_threads() == []


def test_asyncio(target: str, key: str) -> None:
    async def main() -> None:
        client = AsyncClient(target, preset="local", call_timeout=60, fetch_margin=60)
        entries = client.namespace("closing")
        near = client.namespace("closing-near", near_cache=True)
        holder = AsyncClient(target, preset="local")
        loading, release = asyncio.Event(), asyncio.Event()

        async def load() -> str:
            loading.set()
            await release.wait()
            return "late"

        leader = asyncio.create_task(holder.namespace("closing").get_or_fetch(key, load))
        await asyncio.wait_for(loading.wait(), SOON)
        outcomes: dict[str, list[str]] = {}

        async def again_and_again(name: str, call: Callable[[], Any]) -> None:
            seen = outcomes[name] = []
            while not seen or seen[-1] == "result":
                try:
                    await call()
                    seen.append("result")
                except LarderError as error:
                    seen.append(type(error).__name__)

        async def watching() -> None:
            async for _ in entries.watch():
                pass

        calls: dict[str, Callable[[], Any]] = {
            "get": lambda: entries.get(key),
            "set": lambda: entries.set(f"{key}-set", 1),
            "many": lambda: entries.get_many([key, "other"]),
            "near": lambda: near.get(key),
            "waiting": lambda: entries.get_or_fetch(key, lambda: "mine", timeout=50),
            "watch": watching,
        }
        tasks = [asyncio.create_task(again_and_again(*each)) for each in calls.items()]
        await asyncio.sleep(0.3)
        await asyncio.wait_for(client.close(), SOON)
        done, running = await asyncio.wait(tasks, timeout=SOON)
        release.set()
        await leader
        await holder.close()
        assert not running, outcomes
        for task in done:
            task.result()
        assert {name: seen[-1] for name, seen in outcomes.items()} == dict.fromkeys(
            calls, "ClientClosed"
        )
        with pytest.raises(ClientClosed):
            await entries.get(key)
        await client.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, grpc.aio.Channel)]
