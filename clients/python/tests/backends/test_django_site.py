"""The backend for Django without a server, and under Django's own machinery."""

from __future__ import annotations

import asyncio
import time

import pytest

from larder_cache import LarderError
from larder_cache.backends.django import LarderCache


@pytest.fixture
def away(site, stopped, namespace):
    return LarderCache(stopped, {"OPTIONS": {"namespace": namespace}})


def test_without_a_server_reads_miss(away):
    assert away.get("key", "default") == "default"
    assert away.get_many(["a", "b"]) == {}
    assert away.has_key("key") is False
    assert away.touch("key") is False
    assert away.get_or_set("key", lambda: "computed") == "computed"
    assert asyncio.run(away.aget("key", "default")) == "default"


def test_without_a_server_nothing_is_stored(away):
    away.set("key", "value")
    assert away.add("key", "value") is False
    assert away.set_many({"a": 1, "b": 2}) == ["a", "b"]


@pytest.mark.parametrize(
    "call",
    [
        lambda cache: cache.delete("key"),
        lambda cache: cache.delete_many(["key"]),
        lambda cache: cache.clear(),
        lambda cache: cache.incr("key"),
        lambda cache: asyncio.run(cache.adelete("key")),
        lambda cache: asyncio.run(cache.aclear()),
    ],
)
def test_without_a_server_invalidations_raise(away, call):
    with pytest.raises(LarderError) as raised:
        call(away)
    assert raised.value.outage


def test_a_server_that_comes_back_is_used_again(site, server, namespace):
    cache = LarderCache(server.target, {"OPTIONS": {"namespace": namespace}})
    cache.set("key", "before")
    assert cache.get("key") == "before"
    server.stop()
    for _ in range(10):
        assert cache.get("key") is None
    server.start()
    deadline = time.monotonic() + 10
    while cache.get("key") != "after":
        assert time.monotonic() < deadline
        cache.set("key", "after")
        time.sleep(0.02)


def test_on_error_raise(site, stopped, namespace):
    cache = LarderCache(stopped, {"OPTIONS": {"namespace": namespace, "on_error": "raise"}})
    for call in (lambda: cache.get("key"), lambda: cache.set("key", 1), lambda: cache.add("k", 1)):
        with pytest.raises(LarderError):
            call()


# === With Django's own machinery ===


def test_sessions_and_the_cache_middleware(site):
    from django.core.cache import cache
    from django.test import Client as Browser

    cache.clear()
    browser, other = Browser(), Browser()
    first = browser.get("/page").content
    assert browser.get("/page").content == first
    assert other.get("/page").content == first

    assert [browser.get("/count").content for _ in range(3)] == [b"1", b"2", b"3"]
    assert other.get("/count").content == b"1"
    browser.get("/leave")
    assert browser.get("/count").content == b"1"


def test_a_new_session_without_a_server_ends_in_bounded_time(site, stopped, namespace):
    from django.contrib.sessions.backends.cache import SessionStore

    class Store(SessionStore):
        def __init__(self):
            super().__init__()
            self._cache = LarderCache(stopped, {"OPTIONS": {"namespace": namespace}})

    started = time.monotonic()
    with pytest.raises(RuntimeError, match="likely that the cache is unavailable"):
        Store().create()
    assert time.monotonic() - started < 20
