"""`cached` on coroutine functions, against the real server."""

import asyncio
import dataclasses
import inspect

import decorators_server
import pytest

from larder_cache import Client
from larder_cache.decorators import CallKey, cache_result, cached

server, client, space = decorators_server.server, decorators_server.client, decorators_server.space


def run(server, test):
    async def main():
        async with server.async_client() as client:
            await test(client)

    asyncio.run(main())


def test_all_that_is_on_a_coroutine_function(server, space):
    async def test(client):
        calls = []

        @cached("1m", client=client, namespace=space, tags=["t:{a}"], name="f")
        async def f(a, b=2):
            calls.append(a)
            await asyncio.sleep(0)
            return {"n": len(calls)}

        assert [await f(1), await f(a=1), await f(1, 2)] == [{"n": 1}] * 3
        assert f.key(1) == await f.key_of(1) == CallKey("f", {"a": "1", "b": "2"})
        found = await f.get(1)
        assert found.value == {"n": 1} and found.tags == ("t:1",) and found.ttl_remaining <= 60
        assert await f.refresh(1) == {"n": 2} == await f(1)
        assert await f.bypass(1) == {"n": 3} == {"n": len(calls)}
        assert await f.set({"n": 9}, 1) and await f(1) == {"n": 9}
        assert (await f.invalidate(1)).deleted
        assert await f(1) == {"n": 4}
        assert await f.original(1) == {"n": 5}
        await f.invalidate_all()
        assert not (await f.get(1)).found

    run(server, test)


def test_all_options_may_be_asynchronous(server, space):
    async def test(client):
        async def key(call):
            return f"k:{call.a}"

        async def ttl(call, result):
            return 60 + result

        async def skip(call):
            return call.a == "skip"

        async def judge(result):
            return result < 3

        async def tags(call, result):
            return [f"r{result}"]

        async def user(call):
            return call.a

        async def force(call):
            return call.a == "force"

        calls = []

        @cached(
            ttl,
            client=client,
            namespace=space,
            key_builder=key,
            skip_cache_fn=skip,
            name="f",
            cache_if=judge,
            tags=tags,
            cache_by_user=user,
            forced_update=force,
        )
        async def f(a):
            calls.append(a)
            return len(calls)

        assert await f("x") == 1 == await f("x")
        found = await f.get("x")
        assert 60 < found.ttl_remaining <= 61 and found.tags == ("r1",)
        assert await f.key_of("x") == CallKey("k:x", {"@user": '"x"'})
        with pytest.raises(RuntimeError, match="f is a blocking function|waits on asyncio"):

            async def slow(call):
                await asyncio.sleep(0.01)
                return "k"

            cached(client=client, key_builder=slow, name="f")(f.original).key("x")
        assert [await f("force"), await f("force")] == [2, 3]
        assert [await f("skip"), await f("skip")] == [4, 5]
        assert [await f("y"), await f("y")] == [6, 7]

    run(server, test)


def test_tasks_compute_once_and_share_errors(server, space):
    async def test(client):
        calls = []

        @cached(client=client, namespace=space)
        async def f(a):
            calls.append(a)
            await asyncio.sleep(0.05)
            if a < 0:
                raise ValueError(a)
            return a

        assert await asyncio.gather(*(f(1) for _ in range(20))) == [1] * 20
        assert calls == [1]
        failed = await asyncio.gather(*(f(-1) for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in failed] == [ValueError] * 5
        assert calls == [1, -1]

    run(server, test)


def test_a_cancelled_caller_leaves_the_value_to_the_others(server, space):
    async def test(client):
        calls = []
        inside, release = asyncio.Event(), asyncio.Event()

        @cached(client=client, namespace=space)
        async def f():
            calls.append(1)
            inside.set()
            await release.wait()
            return "value"

        first = asyncio.create_task(f())
        await asyncio.wait_for(inside.wait(), 10)
        second = asyncio.create_task(f())
        await asyncio.sleep(0.05)
        first.cancel()
        release.set()
        assert await second == "value"
        with pytest.raises(asyncio.CancelledError):
            await first
        assert calls == [1]

    run(server, test)


@dataclasses.dataclass
class Point:
    x: int


def test_values_are_decoded_by_the_annotation_of_a_coroutine_function(server, space):
    async def test(client):
        @cache_result(client=client, namespace=space)
        async def f(x: int) -> Point:
            return Point(x)

        assert await f(1) == await f(1) == Point(1)

    run(server, test)


def test_methods_of_all_kinds(server, space):
    async def test(client):
        calls = []

        class Repo:
            @cached(client=client, namespace=space)
            async def of_object(self, a):
                calls.append(a)
                return a

            @cached(client=client, namespace=space)
            @classmethod
            async def of_class(cls, a):
                calls.append(a)
                return [cls.__name__, a]

            @cached(client=client, namespace=space)
            @staticmethod
            async def of_none(a):
                calls.append(a)
                return a

        repo = Repo()
        for _ in range(2):
            assert await repo.of_object(1) == 1
            assert await Repo.of_class(2) == ["Repo", 2] == await repo.of_class(2)
            assert await Repo.of_none(3) == 3 == await repo.of_none(3)
        assert calls == [1, 2, 3]
        assert (await repo.of_object.get(1)).found
        assert (await Repo.of_class.invalidate(2)).deleted
        assert (await repo.of_none.get(3)).value == 3

    run(server, test)


def test_frameworks_see_a_coroutine_function(server, space):
    @cached(client=lambda: None, namespace=space)
    async def f(a: int, b: str = "x") -> int:
        return a

    assert asyncio.iscoroutinefunction(f)
    assert inspect.iscoroutinefunction(f.__call__)
    assert list(inspect.signature(f).parameters) == ["a", "b"]


def test_the_client_must_be_of_the_kind_of_the_function(server, client, space):
    with pytest.raises(TypeError, match="client must be AsyncClient, since f is a coroutine"):

        @cached(client=client, name="f")
        async def f():
            return 0

    with pytest.raises(TypeError, match="client must be Client, since g is a blocking function"):

        @cached(client=server.async_client(), name="g")
        def g():
            return 0

    with pytest.raises(TypeError, match="namespace must be AsyncNamespace"):

        @cached(namespace=client.namespace(space))
        async def h():
            return 0


def test_several_event_loops_use_one_function(server, space):
    client = server.async_client()
    calls = []

    @cached(client=client, namespace=space)
    async def f(a):
        calls.append(a)
        return a

    for _ in range(3):
        assert asyncio.run(f(1)) == 1
    assert calls == [1]
    asyncio.run(client.close())


def test_a_cache_that_is_away_fails_open(space):
    async def main():
        from larder_cache import AsyncClient

        async with AsyncClient("127.0.0.1:1", call_timeout=0.2, connect_timeout=0.2) as away:

            @cached(client=away, namespace=space)
            async def f(a):
                return a

            assert await f(1) == 1

    asyncio.run(main())


def test_the_default_clients_are_used(server, space):
    from larder_cache import configure

    configure(server.target)
    try:

        @cached(namespace=space, name="blocking")
        def f(a):
            return a

        @cached(namespace=space, name="coroutine")
        async def g(a):
            return a

        assert f(1) == 1 and asyncio.run(g(2)) == 2
        with Client(server.target) as reader:
            assert reader.namespace(space).get("blocking", params={"a": "1"}).value == 1
            assert reader.namespace(space).get("coroutine", params={"a": "2"}).value == 2
    finally:
        configure()
