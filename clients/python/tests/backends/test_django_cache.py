"""The backend for Django, beyond what Django's own suite checks."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
import time

import pytest
from races import race

from larder_cache import Client, LarderError
from larder_cache.backends._clients import shared_client
from larder_cache.backends.django import LarderCache


@pytest.fixture
def cache(site, target, namespace):
    return LarderCache(target, {"OPTIONS": {"namespace": namespace, "preset": "local"}})


@pytest.fixture
def raw(target, namespace):
    """The same namespace without the backend."""
    with Client(target, preset="local") as client:
        yield client.namespace(namespace)


def test_one_of_eight_threads_adds(cache):
    assert sorted(race(lambda number: cache.add("key", number))) == [False] * 7 + [True]


def test_increments_are_not_lost(cache):
    cache.set("key", 0)
    race(lambda _: [cache.incr("key", 2) for _ in range(20)])
    assert cache.get("key") == 8 * 20 * 2


def test_an_increment_keeps_the_timeout(cache, raw):
    cache.set("key", 1, timeout=100)
    cache.incr("key")
    assert 90 < raw.get(":1:key").ttl_remaining <= 100


@pytest.mark.parametrize("value", ["text", b"bytes", None, 1.5])
def test_only_integers_are_counted(cache, value):
    cache.set("key", value)
    with pytest.raises(TypeError, match="'key' is not an integer"):
        cache.incr("key")


def test_counting_past_64_bits_is_an_error(cache):
    cache.set("key", 2**63 - 1)
    with pytest.raises(OverflowError, match="'key'"):
        cache.incr("key")


def test_no_timeout_is_the_longest_of_the_server(cache, raw):
    cache.set("key", "value", timeout=None)
    assert raw.get(":1:key").ttl_remaining == pytest.approx(7 * 86400, abs=5)


def test_fractions_of_a_second_are_kept(cache, raw):
    cache.set("key", "value", timeout=2.5)
    assert 2 < raw.get(":1:key").ttl_remaining <= 2.5


def test_a_timeout_that_is_over_leaves_an_entry_that_add_does_not_own(cache):
    cache.set("key", "value")
    assert cache.add("key", "other", timeout=0) is False
    assert cache.get("key") == "value"
    assert cache.touch("key", timeout=-1) is True
    assert cache.get("key") is None


def test_more_keys_than_a_batch_holds(cache):
    values = {f"key{number}": number for number in range(1001)}
    assert cache.set_many(values) == []
    assert cache.get_many(values) == values
    cache.delete_many(values)
    assert cache.get_many(values) == {}


def test_has_key_reads_no_value(cache):
    cache.set("key", None)
    assert cache.has_key("key")
    assert "other" not in cache


def test_aliases_of_one_server_share_a_client(site, target):
    first = LarderCache(target, {"OPTIONS": {"namespace": "one", "preset": "local"}})
    second = LarderCache(target, {"OPTIONS": {"namespace": "two", "preset": "local"}})
    assert first._namespace._handle.engine is second._namespace._handle.engine


def test_names_that_the_server_does_not_take_stay_apart(site, target, namespace):
    def named(name):
        options = {"namespace": f"{namespace}:{name}", "preset": "local"}
        return LarderCache(target, {"OPTIONS": options})

    names = ["Shop", "shop", "shop ", "läden"]
    for name in names:
        named(name).set("key", name)
    named("Shop").clear()
    assert [named(name).get("key") for name in names] == [None, *names[1:]]


# === Signatures ===


def test_values_are_signed_with_the_secret_key(cache, raw):
    cache.set("key", {"a": 1})
    stored = raw.get(":1:key").value
    assert stored.startswith(b"LDS1")
    assert pickle.dumps({"a": 1}, pickle.HIGHEST_PROTOCOL) in stored


def test_an_unsigned_pickle_is_a_miss_and_is_not_loaded(cache, raw):
    raw.set(":1:key", pickle.dumps(Bomb()))
    assert cache.get("key", "default") == "default"
    assert cache.get_many(["key"]) == {}
    assert cache.get_or_set("key", lambda: "computed") == "computed"
    assert cache.get("key") == "computed"


def test_a_value_of_another_key_is_a_miss(cache, raw):
    cache.set("admin", "the session of an admin")
    raw.set(":1:guest", raw.get(":1:admin").value)
    assert cache.get("guest") is None


def test_a_secret_can_be_replaced(cache, target, namespace):
    old, new = "old secret of 18 b", "new secret of 18 b"

    def with_secret(secret):
        return LarderCache(target, {"OPTIONS": {"namespace": namespace, "secret": secret}})

    with_secret(old).set("key", "value")
    assert with_secret([new, old]).get("key") == "value"
    assert with_secret(new).get("key") is None


def test_undecodable_values_are_counted(cache, raw, target, namespace):
    raw.set(":1:key", b"garbage")
    cache.get("key")
    assert shared_client(target, {"preset": "local"}).counters(namespace)["undecodable"] == 1


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("an unsigned value was unpickled",))


# === get_or_set ===


def test_eight_threads_compute_once(cache):
    calls = []

    def compute():
        calls.append(threading.get_ident())
        time.sleep(0.2)
        return {"computed": True}

    assert race(lambda _: cache.get_or_set("key", compute)) == [{"computed": True}] * 8
    assert len(calls) == 1


def test_two_clients_compute_once(cache, target, namespace):
    # Another client, as in another process: the server makes one of them wait.
    other = LarderCache(target, {"OPTIONS": {"namespace": namespace, "call_timeout": 4}})
    calls = []

    def compute():
        calls.append(1)
        time.sleep(0.2)
        return "value"

    caches = [cache, other]
    assert race(lambda n: caches[n % 2].get_or_set("key", compute), 2) == ["value"] * 2
    assert len(calls) == 1


def test_the_error_of_the_function_is_raised_and_not_cached(cache):
    def fail():
        raise LookupError("no such row")

    with pytest.raises(LookupError, match="no such row"):
        cache.get_or_set("key", fail)
    assert cache.get("key", "nothing") == "nothing"


def test_none_is_cached(cache):
    assert cache.get_or_set("key", lambda: None) is None
    assert cache.get_or_set("key", lambda: pytest.fail("None was not cached")) is None


def test_a_timeout_of_zero_computes_each_time(cache):
    assert cache.get_or_set("key", lambda: 1, timeout=0) == 1
    assert cache.has_key("key") is False


# === Asynchronous methods ===


def test_asynchronous_methods(cache):
    async def use():
        assert await cache.aget("a") is None
        await cache.aset("a", 1)
        assert await cache.aget("a") == 1
        assert await cache.aincr("a", 2) == 3
        assert await cache.adecr("a") == 2
        with pytest.raises(ValueError, match="'missing' not found"):
            await cache.aincr("missing")
        assert await cache.aadd("a", "other") is False
        assert await cache.aadd("b", {"x": ()}) is True
        assert await cache.aadd("zero", 1, timeout=0) is True
        assert await cache.ahas_key("zero") is False
        assert await cache.aget_many(["a", "b", "c"]) == {"a": 2, "b": {"x": ()}}
        assert await cache.aset_many({"c": None, "d": "d"}, timeout=50) == []
        assert await cache.aget("c", "default") is None
        assert await cache.atouch("d", None) is True
        assert await cache.atouch("missing") is False
        assert await cache.aincr_version("d") == 2
        assert await cache.aget("d", version=2) == "d"
        assert await cache.adelete("c") is True
        assert await cache.adelete("c") is False
        await cache.adelete_many(["a", "b"])
        assert await cache.aget_many(["a", "b"]) == {}
        assert await cache.aclear() is True
        assert await cache.ahas_key("d") is False
        await cache.aclose()

    asyncio.run(use())
    # Django closes its loops: the next one needs connections of its own.
    asyncio.run(use())


def test_asynchronous_methods_use_no_threads(cache):
    threads = set()

    async def use():
        await cache.aset("key", "value")
        threads.add(threading.active_count())
        await asyncio.gather(*(cache.aget("key") for _ in range(50)))
        threads.add(threading.active_count())

    asyncio.run(use())
    assert len(threads) == 1


def test_tasks_compute_once(cache):
    calls = []

    async def compute():
        calls.append(1)
        await asyncio.sleep(0.1)
        return "value"

    async def use():
        return await asyncio.gather(*(cache.aget_or_set("key", compute) for _ in range(20)))

    assert asyncio.run(use()) == ["value"] * 20
    assert len(calls) == 1


def test_asynchronous_functions_may_be_plain(cache):
    assert asyncio.run(cache.aget_or_set("key", lambda: 5)) == 5
    assert asyncio.run(cache.aget_or_set("key", "other")) == 5


# === Values that the server does not take ===

# Over the limit of a value, and over that of a message.
LARGE = [2 * 2**20, 6 * 2**20]


@pytest.mark.parametrize("size", LARGE)
def test_a_value_that_is_too_large_leaves_no_old_one(cache, size):
    large = b"x" * size
    for store in (cache.set, lambda *pair: asyncio.run(cache.aset(*pair))):
        cache.set("key", "old")
        store("key", large)
        assert cache.get("key", "none") == "none"
    assert cache.add("key", large) is False
    cache.set("key", "old")
    assert cache.add("key", large) is False
    assert cache.get("key") == "old"
    assert cache.get_or_set("other", lambda: large) == large


@pytest.mark.parametrize("size", LARGE)
def test_the_other_values_of_a_batch_are_stored(cache, size):
    large = b"x" * size
    cache.set_many({"a": "old", "b": "old"})
    assert cache.set_many({"a": large, "b": 1, "c": 2}) == ["a"]
    assert cache.get_many(["a", "b", "c"]) == {"b": 1, "c": 2}
    assert asyncio.run(cache.aset_many({"b": large, "c": 3})) == ["b"]
    assert cache.get_many(["a", "b", "c"]) == {"c": 3}


def test_a_value_that_is_too_large_raises_if_errors_do(site, target, namespace):
    cache = LarderCache(target, {"OPTIONS": {"namespace": namespace, "on_error": "raise"}})
    with pytest.raises(LarderError, match="VALUE_TOO_LARGE"):
        cache.set("key", b"x" * LARGE[0])


# === Processes ===


def _incremented(cache, parent, result):
    """In a forked child, whose parent has used the cache."""
    result.put((cache.get("parent") == parent, cache.incr("count")))


def test_forked_processes_use_the_cache_of_their_parent(cache):
    cache.set_many({"parent": os.getpid(), "count": 0})
    context = multiprocessing.get_context("fork")
    result = context.SimpleQueue()
    children = [
        context.Process(target=_incremented, args=(cache, os.getpid(), result)) for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    assert sorted(result.get() for _ in children) == [(True, 1), (True, 2), (True, 3)]
    assert cache.incr("count") == 4
