"""The object ``cache`` and the decorator ``cached``, against the real server."""

import asyncio
import threading
import time

import compat_server
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from larder_cache import configure, default_async_client
from larder_cache.compat import cache_object
from larder_cache.compat.cache_object import (
    CACHE_TTL_DAY,
    CACHE_TTL_LONG,
    CACHE_TTL_MEDIUM,
    CACHE_TTL_SHORT,
    Cache,
    MockRedis,
    cache,
    cached,
    get_with_lock,
    get_with_refresh,
)

server, client = compat_server.server, compat_server.client


def test_it_does_what_it_did(client):
    assert (CACHE_TTL_SHORT, CACHE_TTL_MEDIUM, CACHE_TTL_LONG, CACHE_TTL_DAY) == (
        60, 300, 3600, 86400,
    )  # fmt: skip
    assert cache.client is not None
    assert cache.get("user:123") is None and not cache.exists("user:123")
    assert cache.set("user:123", {"name": "Test"}, ttl=60)
    assert cache.get("user:123") == {"name": "Test"} and cache.exists("user:123")
    assert cache.get("cache:user:123") == {"name": "Test"}
    found = client.namespace("user").get("123")
    assert found.value == {"name": "Test"} and found.ttl_remaining <= 60
    assert cache.set("user:124", None) and 3590 < client.namespace("user").get("124").ttl_remaining
    assert cache.delete("user:123") and cache.delete("user:123")
    assert cache.get("user:123") is None
    cache.set("user:1:a", 1), cache.set("user:1:b", 2), cache.set("user:2:a", 3)
    assert cache.invalidate_pattern("user:1:*") == 2
    assert [cache.get(f"user:{key}") for key in ("1:a", "1:b", "2:a")] == [None, None, 3]


def test_it_never_raises(client, caplog):
    assert not cache.set("user:1", object())
    assert not cache.set("", 1) and cache.get("") is None
    assert not cache.set("user:1", 1, ttl="soon")
    assert cache.invalidate_pattern("*") == 0
    assert "old values may stay" in caplog.text
    configure("127.0.0.1:1", call_timeout=0.2, connect_timeout=0.2)
    assert cache.get("user:1") is None and not cache.set("user:1", 1)
    assert not cache.delete("user:1") and not cache.exists("user:1")
    assert cache.invalidate_pattern("user:*") == 0 and cache.stats() == {}


def test_it_can_be_switched_off(client, monkeypatch):
    cache.set("user:1", 1)
    monkeypatch.setenv("REDIS_ENABLED", "false")
    assert cache.client is None and cache.get("user:1") is None and not cache.set("user:1", 2)
    assert not cache.delete("user:1") and not cache.exists("user:1") and cache.stats() == {}
    assert cache.invalidate_pattern("user:*") == 0
    assert get_with_lock("user:1", lambda: 5) == 5 == get_with_refresh("user:1", lambda: 5)

    @cached(key_prefix="user")
    def f(a):
        return a

    assert f(1) == 1
    monkeypatch.setenv("REDIS_ENABLED", "true")
    assert cache.get("user:1") == 1


def test_stats(client):
    cache.set("user:1", "x" * 3000)
    deadline = time.monotonic() + 20
    while True:
        cache.get("user:1"), cache.get("user:none")
        stats = cache.stats()
        if stats["keys"] >= 1 and stats["hit_rate"] > 0:
            break
        assert time.monotonic() < deadline, stats
        time.sleep(0.1)
    assert stats["hit_rate"] < 100 and stats["memory"].endswith("K")


def test_keys_of_decorated_functions_are_the_old_ones(client):
    calls = []

    @cached(ttl=3600, key_prefix="user")
    def get_user(user_id, lang="en"):
        calls.append(user_id)
        return {"id": user_id}

    assert get_user("123") == get_user(user_id="123") == get_user("123", "en") == {"id": "123"}
    assert calls == ["123"] and cache.get("user:123") == {"id": "123"}
    assert 3590 < client.namespace("user").get("123").ttl_remaining <= 3600
    get_user("123", lang="de")
    assert cache.get("user:123:de") == {"id": "123"}
    assert cache.delete("user:123") and get_user("123") and len(calls) == 3
    assert cache.invalidate_pattern("user:*") == 2
    get_user("123")
    assert len(calls) == 4


def test_what_an_old_key_would_mix_up_is_kept_apart(client):
    @cached(key_prefix="user")
    def f(a, b=None, c=None):
        return [a, b, c]

    @cached(key_prefix="points")
    def g(a):
        return a

    values = [("a:b",), ("a", "b"), ("1.5",), (1.5,), ("null", "x"), (None, "x")]
    assert [f(*v)[: len(v)] for v in values] == [list(v) for v in values]
    assert [f(*v)[: len(v)] for v in values] == [list(v) for v in values]
    g("a:b")
    assert cache.get("points:a:b") == "a:b"


def test_none_is_cached_and_functions_without_arguments(client):
    calls = []

    @cached(key_prefix="nothing")
    def f():
        calls.append(1)

    @cached()
    def plain(a=1):
        calls.append(2)
        return a

    assert [f(), f(), plain(), plain(a=1)] == [None, None, 1, 1] and calls == [1, 2]
    assert client.namespace("general").get("nothing").found
    assert cache.delete("nothing") and f() is None and calls == [1, 2, 1]


def test_methods_coroutines_and_options(client):
    calls = []

    class Repo:
        @cached(60, "user", tags=["t"])
        def find(self, user_id):
            calls.append(user_id)
            return user_id

    @cached(key_prefix="user", ignore=("db",))
    async def load(user_id, db):
        calls.append(user_id)
        return user_id

    assert Repo().find(1) == Repo().find(user_id=1) == 1 and cache.get("user:1") == 1
    assert client.namespace("user").get("1").tags == ("t",)

    async def main():
        assert await load(2, object()) == 2 == await load(2, object())
        await default_async_client().close()

    asyncio.run(main())
    assert calls == [1, 2] and cache.get("user:2") == 2


def test_an_argument_that_no_key_can_hold_is_logged_once_and_not_cached(client, caplog):
    calls = []

    @cached(key_prefix="user")
    def f(db):
        calls.append(1)
        return 1

    assert [f(object()), f(object()), f(1), f(1)] == [1] * 4 and len(calls) == 3
    assert caplog.text.count("the argument db of user cannot be cached") == 1


def test_an_endpoint_with_the_payload_of_a_token(client):
    app = FastAPI()
    calls = []

    def verify_token(token: str):
        return {"user_id": token}

    @app.get("/profile")
    @cached(ttl=1800, key_prefix="profile")
    async def get_profile(token_payload: dict = Depends(verify_token)):  # noqa: B008
        calls.append(token_payload)
        return {"user": token_payload["user_id"]}

    @app.get("/list")
    @cached(ttl=300, key_prefix="analyses_list")
    def list_analyses(user_id: str, page: int = 1):
        calls.append(page)
        return {"user": user_id, "page": page}

    with TestClient(app) as browser:
        users = [browser.get(f"/profile?token={t}").json()["user"] for t in "abab"]
        assert users == ["a", "b", "a", "b"] and len(calls) == 2
        urls = ["/list?user_id=u", "/list?user_id=u&page=1", "/list?user_id=u&page=2"]
        assert [browser.get(url).json()["page"] for url in urls] == [1, 1, 2]
        assert calls[2:] == [1, 2]
        assert cache.get("analyses_list:u:2") == {"user": "u", "page": 2}
        assert cache.invalidate_pattern("analyses_list:*") == 2
        browser.portal.call(default_async_client().close)


def test_get_with_lock_computes_once(client):
    calls = []
    inside, release = threading.Event(), threading.Event()

    def fetch():
        calls.append(1)
        inside.set()
        release.wait(10)
        return {"n": len(calls)}

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(get_with_lock("user:lock", fetch, 60)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    release.set()
    for thread in threads:
        thread.join(20)
    assert found == [{"n": 1}] * 5 and client.namespace("user").get("lock").ttl_remaining <= 60


def test_get_with_refresh_computes_ahead(client):
    calls = []

    def fetch():
        calls.append(1)
        return len(calls)

    assert get_with_refresh("user:r", fetch, 1000) == 1 == get_with_refresh("user:r", fetch, 1000)
    client.namespace("user").set("r", 1, ttl=50)
    assert get_with_refresh("user:r", fetch, 1000) == 1
    deadline = time.monotonic() + 10
    while client.namespace("user").get("r").value != 2:
        assert time.monotonic() < deadline
    assert client.namespace("user").get("r").ttl_remaining > 900
    with pytest.raises(ValueError, match="refresh_at must be between"):
        get_with_refresh("user:r", fetch, 1000, refresh_at=2)


def test_refreshes_are_bounded_and_their_errors_logged(caplog):
    refreshes = cache_object._Refreshes(limit=2, threads=2)
    release, done = threading.Event(), threading.Event()

    def fail():
        release.wait(10)
        raise ValueError("broken")

    assert refreshes.start("a", fail) and not refreshes.start("a", fail)
    assert refreshes.start("b", fail) and not refreshes.start("c", fail)
    release.set()
    deadline = time.monotonic() + 10
    while not refreshes.start("c", done.set):
        assert time.monotonic() < deadline
    assert done.wait(10)
    # The place of `c` may be that of `b`, with `a` still under way.
    while "the refresh of 'a' failed" not in caplog.text:
        assert time.monotonic() < deadline
    while "the refresh of 'b' failed" not in caplog.text:
        assert time.monotonic() < deadline


def test_a_test_double_in_its_place():
    now = [0.0]
    double = Cache(MockRedis(clock=lambda: now[0]))
    assert double.client is not None and double.set("user:1", {"a": 1}, ttl=10)
    assert double.get("user:1") == {"a": 1} and double.exists("user:1")
    assert double.client.ttl("user:1") == 10
    now[0] = 10
    assert double.get("user:1") is None and not double.exists("user:1")
    double.set("user:1:a", 1), double.set("user:2:a", 1)
    assert double.invalidate_pattern("user:1:*") == 1 and double.stats()["keys"] == 1
    assert double.delete("user:2:a") and not double.set("user:1", object())


def test_get_with_lock_goes_on_at_mistakes_of_the_cache(client, caplog):
    # A key and a TTL that the cache does not take.
    assert get_with_lock("user:", lambda: 5) == 5
    assert get_with_lock("user:1", lambda: 6, ttl="soon") == 6
    assert get_with_refresh("user:", lambda: 7) == 7
    assert caplog.text.count("cache read failed") >= 3

    def fails():
        raise ValueError("of the function")

    with pytest.raises(ValueError, match="of the function"):
        get_with_lock("user:2", fails)
