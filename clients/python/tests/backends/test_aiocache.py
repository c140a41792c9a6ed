"""The cache for aiocache, beyond what its own acceptance tests check."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from aiocache import cached, caches
from aiocache.lock import OptimisticLock, OptimisticLockError, RedLock
from aiocache.serializers import PickleSerializer, StringSerializer

from larder_cache import Client, LarderError
from larder_cache.backends.aiocache import LarderCache

SECRET = "s" * 32
LOCAL = {"preset": "local"}


@pytest.fixture
def make(target, namespace):
    """Makes caches with one namespace of the server."""

    def make(**options):
        return LarderCache(target, larder_namespace=namespace, client_options=LOCAL, **options)

    return make


@pytest.fixture
def raw(target, namespace):
    """The same namespace without the backend."""
    with Client(target, preset="local") as client:
        yield client.namespace(namespace)


def test_a_decorated_function(target, namespace):
    calls = []
    caches.set_config(
        {
            "default": {
                "cache": "larder_cache.backends.aiocache.LarderCache",
                "target": target,
                "larder_namespace": namespace,
                "namespace": "users",
                "client_options": LOCAL,
            }
        }
    )

    @cached(alias="default", ttl=60, key_builder=lambda _, user: f"user:{user}")
    async def load(user):
        calls.append(user)
        return {"id": user}

    async def use():
        assert [await load(1), await load(1), await load(2)] == [{"id": 1}, {"id": 1}, {"id": 2}]

    asyncio.run(use())
    assert calls == [1, 2]


def test_one_of_eight_tasks_adds(make):
    async def use():
        cache = make()
        added = await asyncio.gather(
            *(cache.add("key", number) for number in range(8)), return_exceptions=True
        )
        assert [each for each in added if each is True] == [True]
        assert sum(isinstance(each, ValueError) for each in added) == 7

    asyncio.run(use())


def test_prefixes_are_cleared_apart(make):
    async def use():
        users, items = make(namespace="users"), make(namespace="items")
        await users.set("key", 1)
        await items.set("key", 2)
        await users.clear(namespace="users")
        assert [await users.get("key"), await items.get("key")] == [None, 2]
        await users.clear()
        assert await items.get("key") is None

    asyncio.run(use())


def test_locks(make):
    async def use():
        cache = make(serializer=StringSerializer())
        async with RedLock(cache, "key", lease=10):
            with pytest.raises(ValueError, match="already exists"):
                await cache._add("key-lock", "other")
            # The release of a lock that has passed to another caller.
            assert await cache._redlock_release("key-lock", "other") == 0
            assert await cache.exists("key-lock")
        assert not await cache.exists("key-lock")

        await cache.set("counted", "1")
        async with OptimisticLock(cache, "counted") as lock:
            await lock.cas("2")
        assert await cache.get("counted") == "2"
        with pytest.raises(OptimisticLockError):
            async with OptimisticLock(cache, "counted") as lock:
                await cache.set("counted", "3")
                await lock.cas("4")
        assert await cache.get("counted") == "3"

    asyncio.run(use())


def test_ttls(make, raw):
    async def use():
        cache = make()
        await cache.set("forever", 1)
        await cache.set("zero", 1, ttl=0)
        await cache.set("short", 1, ttl=2.5)
        await cache.set("gone", 1)
        await cache.set("gone", 2, ttl=-1)

    asyncio.run(use())
    for key in ("forever", "zero"):
        assert raw.get(key).ttl_remaining == pytest.approx(7 * 86400, abs=5)
    assert raw.get("short").ttl_remaining <= 2.5
    assert not raw.contains("gone")


def test_pickles_are_signed(make, raw):
    with pytest.raises(ValueError, match="set secret"):
        make(serializer=PickleSerializer())

    async def use():
        cache = make(serializer=PickleSerializer(), secret=SECRET)
        await cache.set("key", {"a": (1,)})
        assert await cache.get("key") == {"a": (1,)}
        raw.set("key", pickle.dumps("unsigned"))
        assert await cache.get("key") is None
        assert await make().get("key") is None
        with pytest.raises(ValueError, match="set secret"):
            await make().set("key", 1, dumps_fn=pickle.dumps)

    asyncio.run(use())


def test_without_a_server(stopped, namespace):
    async def use():
        cache = LarderCache(stopped, larder_namespace=namespace)
        assert await cache.get("key", "default") == "default"
        assert await cache.multi_get(["a", "b"]) == [None, None]
        assert await cache.exists("key") is False
        assert await cache.set("key", 1) is False
        for call in (cache.delete("key"), cache.clear(), cache.increment("key")):
            with pytest.raises(LarderError):
                await call
        loud = LarderCache(
            stopped, larder_namespace=namespace, client_options={"on_error": "raise"}
        )
        with pytest.raises(LarderError):
            await loud.get("key")

    asyncio.run(use())
