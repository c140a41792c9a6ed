"""The modules of the replaced FastAPI application, against the real server."""

import asyncio
from unittest.mock import patch

import compat_server
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from larder_cache import LarderError, configure, default_async_client
from larder_cache.compat import events, redis_cache
from larder_cache.compat.cache_warming import warm_cache
from larder_cache.compat.circuit_breaker import CircuitBreaker, CircuitBreakerOpen
from larder_cache.compat.events import publish_event, subscribe, unsubscribe
from larder_cache.compat.mock_redis import AsyncMockRedis
from larder_cache.compat.mock_redis import MockRedis as BlockingMockRedis
from larder_cache.compat.redis_cache import (
    REDIS_CACHE_TTL_CONFIG,
    MockRedis,
    get_cache,
    invalidate,
    invalidate_namespace,
    invalidate_namespaces,
    invalidate_pattern,
    redis_client,
    set_cache,
)
from larder_cache.compat.redis_fastapi import cached_endpoint

server, client, run = compat_server.server, compat_server.client, compat_server.run


def test_reads_and_writes(client, run):
    async def test():
        assert await get_cache("cache:user:7:profile") is None
        assert await set_cache("cache:user:7:profile", {"a": [1]}, ttl=60)
        assert await get_cache("cache:user:7:profile") == {"a": [1]}
        assert await set_cache("cache:points:7", 0)
        assert await warm_cache("cache:pickup:1:details", {"id": 1}, ttl=300)
        assert await get_cache("cache:points:7") == 0

    run(test())
    found = client.namespace("user").get("7:profile")
    assert found.value == {"a": [1]} and 50 < found.ttl_remaining <= 60
    assert 290 < client.namespace("points").get("7").ttl_remaining <= 300
    assert client.namespace("pickup").get("1:details").value == {"id": 1}
    assert REDIS_CACHE_TTL_CONFIG["company"] == 7200


def test_invalidations(client, run):
    keys = ["user:7:profile", "user:7:settings", "user:8:profile", "points:7:history", "company:1"]

    async def test():
        for key in keys:
            await set_cache(f"cache:{key}", key)
        assert await invalidate("cache:user:8:profile") and not await invalidate("cache:user:8:x")
        assert await invalidate_pattern("cache:user:7:*") == 2
        assert await get_cache("cache:user:7:profile") is None
        assert await invalidate_namespace("points")
        assert await get_cache("cache:points:7:history") is None
        assert await get_cache("cache:company:1") == "company:1"
        assert await invalidate_namespaces(["company", "user"])
        assert await get_cache("cache:company:1") is None
        with pytest.raises(TypeError, match="namespaces must be a list"):
            await invalidate_namespaces("points")

    run(test())


def test_errors_are_logged_and_not_raised(client, run, caplog):
    configure("127.0.0.1:1", call_timeout=0.2, connect_timeout=0.2)

    async def test():
        assert await get_cache("user:1") is None and not await set_cache("user:1", 1)
        assert not await invalidate("user:1") and await invalidate_pattern("user:*") == 0
        assert not await invalidate_namespaces(["user"])
        await publish_event("points_changed", {"user_id": 1})
        assert not await set_cache("user:1", object(), ttl=5) and not await set_cache("", 1)
        with pytest.raises(LarderError):
            await redis_client.ping()

    run(test())
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len([e for e in errors if "old values may stay" in e.getMessage()]) == 4


def test_it_can_be_switched_off(client, run, monkeypatch):
    async def test():
        await set_cache("user:1", 1)
        monkeypatch.setenv("REDIS_CACHE_ENABLED", "false")
        assert await get_cache("user:1") is None and not await set_cache("user:1", 2)
        assert not await invalidate("user:1") and await invalidate_pattern("user:*") == 0
        assert not await invalidate_namespace("user")
        monkeypatch.setenv("REDIS_CACHE_ENABLED", "true")
        assert await get_cache("user:1") == 1

    run(test())


def test_the_client_of_redis_can_be_replaced_in_tests(client, run):
    async def test():
        with patch("larder_cache.compat.redis_cache.redis_client", MockRedis()):
            assert await set_cache("cache:user:1:a", {"a": 1}, ttl=5)
            assert await get_cache("cache:user:1:a") == {"a": 1}
            assert await redis_cache.redis_client.ttl("cache:user:1:a") == 5
            assert await invalidate_pattern("cache:user:1:*") == 1
            await set_cache("cache:user:1:a", 1)
            assert await invalidate_namespace("user") and await get_cache("cache:user:1:a") is None
            await set_cache("cache:user:1:a", 1)
            assert await invalidate("cache:user:1:a") and not await invalidate("cache:user:1:a")
        assert await get_cache("cache:user:1:a") is None

    run(test())


def test_the_commands_on_larder(client, run):
    async def test():
        assert await redis_client.ping()
        assert await redis_client.setex("user:1", 60, '{"a": 1}')
        assert await redis_client.get("user:1") == '{"a": 1}'
        assert await redis_client.set("user:2", "text") and await redis_client.exists(
            "user:1", "x:1"
        )
        assert await redis_client.get("user:2") == '"text"'
        assert 55 < await redis_client.ttl("user:1") <= 60
        assert await redis_client.ttl("user:none") == -2
        assert await redis_client.delete("user:1", "user:none") == 1
        assert await redis_client.get("user:1") is None

    run(test())


def test_events_reach_the_server_and_the_subscribers(client, run, caplog):
    seen = []

    @subscribe("points_changed")
    async def handle(data):
        seen.append(data["user_id"])
        await invalidate_pattern(f"cache:user:{data['user_id']}:profile")

    @subscribe("points_changed")
    def broken(data):
        raise ValueError("broken subscriber")

    @subscribe("points_changed")
    def last(data):
        seen.append("last")

    async def test():
        for key in ("points:7:a", "points:8:a", "user:7:profile"):
            await set_cache(key, 1)
        await publish_event("points_changed", {"user_id": 7})
        assert [await get_cache(k) for k in ("points:7:a", "points:8:a", "user:7:profile")] == [
            None, 1, None,
        ]  # fmt: skip
        await publish_event("of_nobody")

    try:
        run(test())
    finally:
        for function in (handle, broken, last):
            unsubscribe("points_changed", function)
    assert seen == [7, "last"] and "a subscriber of 'points_changed' failed" in caplog.text
    assert events._subscribers["points_changed"] == []
    with pytest.raises(TypeError, match="name must be text"):
        subscribe(handle)


def test_endpoints_with_the_defaults_of_old(client):
    app = FastAPI()

    def build_pickup_cache_key(request, namespace):
        company_id = request.path_params.get("company_id")
        return f"cache:pickup:{company_id}:{request.query_params.get('status', 'all')}"

    @app.get("/companies/{company_id}/pickups")
    @cached_endpoint(namespace="pickup", ttl=300, key_builder=build_pickup_cache_key)
    async def get_company_pickups(request: Request, company_id: int, status: str = "all"):
        return [company_id, status]

    @app.get("/users/{user_id}")
    @cached_endpoint(namespace="user")
    def get_user(user_id: int):
        return user_id

    async def own(request):
        return "own"

    @app.get("/own")
    @cached_endpoint(namespace="user", key_builder=own)
    def get_own():
        return 1

    with TestClient(app) as browser:
        one, two = (browser.get("/companies/5/pickups") for _ in range(2))
        assert (one.headers["X-Cache"], two.headers["X-Cache"]) == ("MISS", "HIT")
        assert client.namespace("pickup").get("5:all").value == [5, "all"]
        assert browser.get("/users/1").headers["X-Cache-TTL-Remaining"] == "3600"
        browser.get("/own")
        assert client.namespace("user").get("own").value == 1

        async def drop():
            assert await invalidate("cache:pickup:5:all")
            assert await invalidate_pattern("cache:user:endpoint:get_user:*") == 1

        browser.portal.call(drop)
        assert browser.get("/companies/5/pickups").headers["X-Cache"] == "MISS"
        assert browser.get("/users/1").headers["X-Cache"] == "MISS"
        with patch.dict("os.environ", {"REDIS_CACHE_ENABLED": "false"}):
            assert browser.get("/users/1").headers["X-Cache"] == "BYPASS"
        browser.portal.call(default_async_client().close)
    with pytest.raises(TypeError, match="namespace must be text"):
        cached_endpoint(get_user)


def test_the_circuit_breaker():
    now, failures, reported = [0.0], [ValueError("down")], []

    def work(value):
        if failures:
            raise failures[0]
        return value

    async def slow(value):
        return work(value)

    breaker = CircuitBreaker(
        "redis", 2, 30, callback=lambda e: reported.append(e), clock=lambda: now[0]
    )

    async def test():
        for _ in range(2):
            with pytest.raises(ValueError, match="down"):
                await breaker.execute(slow, 1)
        assert breaker.state == "open" and reported == failures
        with pytest.raises(CircuitBreakerOpen, match="redis is open for 30.0 s") as caught:
            breaker.call(work, 1)
        assert caught.value.retry_after == 30
        now[0] = 30
        assert breaker.state == "half_open"
        with pytest.raises(ValueError, match="down"):
            breaker.call(work, 1)
        assert breaker.state == "open" and len(reported) == 1
        now[0] = 60
        failures.clear()

        def nested():
            with pytest.raises(CircuitBreakerOpen):
                breaker.call(work, 1)
            return "tried"

        assert await breaker.execute(nested) == "tried" and breaker.state == "closed"
        assert await breaker.execute(slow, 2) == 2 == breaker.call(work, 2)

        async def forever():
            await asyncio.Event().wait()

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(breaker.execute(forever), 0.01)
        assert breaker.failures == 0

    asyncio.run(test())
    with pytest.raises(ValueError, match="failure_threshold must be positive"):
        CircuitBreaker(failure_threshold=0)
    with pytest.raises(ValueError, match="recovery_timeout must be positive"):
        CircuitBreaker(recovery_timeout=0)


def test_the_test_doubles():
    now = [0.0]
    redis = BlockingMockRedis(clock=lambda: now[0])
    assert redis.ping() and redis.set("a", 1) and redis.set("a", 2, nx=True) is None
    assert redis.get("a") == "1" and redis.ttl("a") == -1 and redis.ttl("b") == -2
    assert redis.incr("a") == 2 and redis.incr("n", 5) == 5
    assert redis.expire("a", 10) and not redis.expire("b", 10)
    now[0] = 10
    assert redis.get("a") is None and redis.keys("*") == ["n"] == redis.keys("[^a]")
    assert redis.set("a", "x", nx=True) and redis.exists("a", "n", "b") == 2 == redis.dbsize()
    assert redis.delete("a", "b") == 1 and redis.flushdb() and redis.dbsize() == 0
    assert redis.info()["keyspace_hits"] == 0
    with pytest.raises(ValueError, match="seconds must be positive"):
        redis.setex("a", 0, "x")

    async def test():
        double = AsyncMockRedis(clock=lambda: now[0])
        assert await double.ping() and await double.set("a", "1") and await double.incr("a") == 2
        assert await double.expire("a", 5) and await double.ttl("a") == 5
        assert await double.exists("a") == 1 and await double.keys() == ["a"]
        assert await double.setex("b", 5, "x") and await double.get("b") == "x"
        assert await double.delete("b") == 1 and await double.flushdb()

    asyncio.run(test())
