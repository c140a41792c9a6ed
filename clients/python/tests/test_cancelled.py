"""get_or_fetch in tasks: cancelled ones, coroutine functions, and the end of a client."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from setups import Loop, Setup, until
from test_fetch import Loader, together

from larder_cache import AsyncClient, Loaded, Stale, Unavailable
from larder_cache._engine.task_flights import TaskFlights
from larder_cache._gen import cache_service_pb2 as pb


async def _cancel_cases(client: AsyncClient) -> None:
    ns = client.namespace("released")
    await ns.invalidate_namespace()
    ended: list[str] = []
    began = asyncio.Event()

    async def load() -> str:
        began.set()
        try:
            await asyncio.sleep(0.4)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        ended.append("done")
        return "value"

    # The leader is cancelled: the one that joined gets the value of the same computation.
    leader = asyncio.create_task(ns.get_or_fetch("joined", load))
    await began.wait()
    follower = asyncio.create_task(ns.get_or_fetch("joined", load))
    await asyncio.sleep(0.05)
    leader.cancel()
    result = await follower
    assert leader.cancelled() and result.value == "value" and result.stored
    assert ended == ["done"]

    # All are cancelled: the loader is cancelled, and the next caller gets the lease at once.
    began.clear()
    ended.clear()
    tasks = [asyncio.create_task(ns.get_or_fetch("alone", load)) for _ in range(3)]
    await began.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    start = time.monotonic()
    after = await ns.get_or_fetch("alone", lambda: "next")
    assert after.value == "next" and after.stored and ended == ["cancelled"]
    # A lease that was not passed on would be waited for: 20 s.
    assert time.monotonic() - start < 0.9

    # The same for many keys.
    began.clear()

    async def load_many(keys: list[str]) -> dict[str, str]:
        return dict.fromkeys(keys, await load())

    many = asyncio.create_task(ns.get_or_fetch_many(["m1", "m2"], load_many))
    await began.wait()
    many.cancel()
    await asyncio.wait([many])
    results = await ns.get_or_fetch_many(["m1", "m2"], lambda keys: dict.fromkeys(keys, "next"))
    assert all(each.stored for each in results.values())

    await client.close()


def test_cancelled_tasks_on_the_server(loop: Loop, server: Any) -> None:
    loop.run(_cancel_cases(AsyncClient(server.target, preset="local")))


def test_cancelled_tasks_on_the_fake(loop: Loop) -> None:
    from larder_cache.testing import FakeLarder

    fake = FakeLarder()
    loop.run(_cancel_cases(fake.async_client(preset="local")))
    abandons = [request for method, request, _ in fake.calls if method == "Abandon"]
    assert abandons and all(request.pass_on for request in abandons)


@pytest.mark.parametrize("slow", ["Set", "Abandon"])
def test_a_cancelled_fill_gives_up_the_lease(loop: Loop, slow: str) -> None:
    """The same for a task that is cancelled while it abandons the lease of a failed loader."""
    from larder_cache.testing import FakeLarder

    fake = FakeLarder()

    def load() -> int:
        if slow == "Abandon":
            raise ValueError("no")
        return 1

    async def work() -> None:
        async with fake.async_client() as client:
            fake.slow(5, methods=(slow,), times=1)
            task = asyncio.create_task(client.namespace("a").get_or_fetch("k", load))
            while fake.count(slow) < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            wanted = 2 if slow == "Abandon" else 1
            while fake.count("Abandon") < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    loop.run(asyncio.wait_for(work(), 4))
    abandon = [request for method, request, _ in fake.calls if method == "Abandon"][-1]
    assert abandon.pass_on is (slow == "Set")


def test_close_gives_up_leases(loop: Loop) -> None:
    """Work in the background that does not end in time passes its lease on."""
    from larder_cache.testing import FakeLarder, Policy

    fake = FakeLarder(Policy(stale_while_revalidate=3600))

    async def work() -> None:
        client = fake.async_client()
        ns = client.namespace("a")
        await ns.set("k", 1, ttl=1)
        fake.advance(2)
        began = asyncio.Event()

        async def load() -> int:
            began.set()
            await asyncio.sleep(60)
            return 2

        assert isinstance(await ns.get_or_fetch("k", load), Stale)
        await began.wait()
        await client.close(timeout=0.05)
        (abandon,) = [request for method, request, _ in fake.calls if method == "Abandon"]
        assert abandon.pass_on

    loop.run(work())


def test_reads_that_began_earlier_are_no_answer(on_fake: Setup) -> None:
    """A call that joined a read asks again: an invalidation may have come in between."""
    fake: Any = on_fake.fake
    ns = on_fake.client().namespace("a")
    ns.set("k", "old")
    fake.slow(0.3, methods=("GetOrFetch",), times=1)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ns.get_or_fetch, "k")
        until(lambda: fake.count("GetOrFetch") == 1)
        others = [pool.submit(ns.get_or_fetch, "k") for _ in range(6)]
        time.sleep(0.1)
        first.result(10)
        assert {each.result(10).value for each in others} == {"old"}
    # The others ask once, together.
    assert fake.count("GetOrFetch") == 2


def test_calls_that_end_in_other_ways_do_not_join(on_fake: Setup) -> None:
    """A call that raises at an outage does not get the degraded value of one that goes on."""
    client = on_fake.client()
    on_fake.fake.fail("UNAVAILABLE")  # type: ignore[union-attr]
    load = Loader()
    load.go.clear()
    raising = client.namespace("a", on_error="raise")
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(client.namespace("a").get_or_fetch, "k", load)
        assert load.began.wait(10)
        other = pool.submit(raising.get_or_fetch, "k", load)
        try:
            with pytest.raises(Unavailable):
                other.result(5)
        finally:
            load.go.set()
        assert leader.result(10).degraded


def test_another_loop_ends_a_flight_meanwhile(loop: Loop) -> None:
    """A write in one loop forgets the flights of all loops."""

    class Racing(dict[Any, Any]):
        def __iter__(self) -> Any:
            keys = list(super().__iter__())
            self.clear()
            return iter(keys)

    flights = TaskFlights(loop.loop)
    flights._flights = Racing({("a", "k"): None})
    flights.forget("a", "k")
    assert not flights._flights


def test_coroutine_loaders(loop: Loop, server: Any) -> None:
    async def work() -> None:
        async with AsyncClient(server.target) as client:
            ns = client.namespace("coroutines")
            await ns.invalidate_namespace()

            async def load() -> Loaded[int]:
                await asyncio.sleep(0.01)
                return Loaded(1, ttl=5)

            results = await asyncio.gather(*(ns.get_or_fetch("k", load) for _ in range(50)))
            assert {each.value for each in results} == {1}
            assert sum(each.joined for each in results) == 49
            assert (await ns.get_or_fetch("lambda", lambda: load())).value == 1

    loop.run(work())


def test_a_coroutine_function_is_refused_by_the_blocking_client(server: Any) -> None:
    async def load() -> int:
        return 1

    with pytest.raises(TypeError, match="coroutine"):
        server.client().namespace("a").get_or_fetch("coroutine", load)  # type: ignore[arg-type]


def test_degraded_leases(on_fake: Setup) -> None:
    client = on_fake.client()
    ns = client.namespace("a")
    on_fake.fake.degrade()  # type: ignore[union-attr]
    load = Loader()
    load.go.clear()
    threading.Timer(0.8, load.go.set).start()
    results = together(5, lambda: ns.get_or_fetch("k", load))
    assert load.calls == 1 and all(each.value == 1 and each.degraded for each in results)
    assert results[0].stored.reason == "DEGRADED"
    assert ns.get("k").degraded and ns.set("k", 1).reason == "DEGRADED"
    on_fake.fake.heal()  # type: ignore[union-attr]
    assert ns.get_or_fetch("k", load).stored


def test_origins(on_fake: Setup, loop: Loop) -> None:
    from larder_cache.testing import FakeLarder

    fake = FakeLarder(origins={"users": lambda key, params: None if key == "none" else {"id": key}})
    users = on_fake.client(target=fake).namespace("users")
    assert users.get_or_fetch("1").value == {"id": "1"} and users.get_or_fetch("1").tier == "store"
    assert users.get_or_fetch("none").outcome == "NEGATIVE"
    assert [type(call[1]) for call in fake.calls] == [pb.GetOrFetchRequest] * 3
