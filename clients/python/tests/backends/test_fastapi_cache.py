"""The backend for fastapi-cache2."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from fastapi_cache import FastAPICache
from fastapi_cache.coder import PickleCoder
from fastapi_cache.decorator import cache

from larder_cache import Client, LarderError
from larder_cache.backends.fastapi_cache import LarderBackend

SECRET = "s" * 32


@pytest.fixture
def raw(target, namespace):
    """The same namespace without the backend."""
    with Client(target, preset="local") as client:
        yield client.namespace(namespace)


@pytest.fixture
def initialize():
    """Sets the backend of the library, which is global, for one test."""
    yield FastAPICache.init
    FastAPICache.reset()


def test_the_interface(target, namespace):
    backend = LarderBackend(target, namespace=namespace, preset="local")

    async def use():
        assert await backend.get("a") is None
        assert await backend.get_with_ttl("a") == (0, None)
        await backend.set("a", b"bytes", 100)
        ttl, value = await backend.get_with_ttl("a")
        assert (ttl in (99, 100), value) == (True, b"bytes")
        await backend.set("b", "text")
        assert await backend.get("b") == b"text"
        assert (await backend.get_with_ttl("b"))[0] > 6 * 86400
        await backend.set("b", b"", 0)
        assert await backend.get("b") is None
        assert await backend.clear(key="a") == 1
        assert await backend.clear(key="a") == 0
        assert await backend.clear() == 0
        for key in ("one:a", "one:b", "two:a", "one"):
            await backend.set(key, b"1")
        assert await backend.clear("one") == 1
        left = [key for key in ("one:a", "one:b", "two:a", "one") if await backend.get(key)]
        assert left == ["two:a", "one"]

    asyncio.run(use())
    asyncio.run(backend.clear("one"))


@pytest.mark.parametrize("coder", [None, PickleCoder])
def test_a_cached_endpoint(target, namespace, initialize, coder):
    app = FastAPI()
    calls = []

    @app.get("/items/{item}")
    @cache(expire=60, namespace="items", coder=coder)
    async def read(item: int) -> dict[str, int]:
        calls.append(item)
        return {"item": item, "calls": len(calls)}

    initialize(
        LarderBackend(target, namespace=namespace, secret=SECRET, preset="local"), prefix="api"
    )
    with TestClient(app) as browser:
        first = browser.get("/items/1")
        second = browser.get("/items/1")
        assert first.json() == second.json() == {"item": 1, "calls": 1}
        assert second.headers["X-FastAPI-Cache"] == "HIT"
        browser.portal.call(FastAPICache.clear, "items")
        assert browser.get("/items/1").json()["calls"] == 2


def test_pickles_need_a_secret(target, namespace, raw):
    plain = LarderBackend(target, namespace=namespace, preset="local")
    signed = LarderBackend(target, namespace=namespace, secret=SECRET, preset="local")
    pickled = pickle.dumps({"a": 1})

    async def use():
        with pytest.raises(ValueError, match="set secret"):
            await plain.set("key", pickled)
        await signed.set("key", pickled)
        assert await signed.get("key") == pickled
        raw.set("key", pickled)
        assert await signed.get("key") is None
        assert await plain.get("key") is None

    asyncio.run(use())


def test_values_of_other_clients(target, namespace, raw):
    backend = LarderBackend(target, namespace=namespace, preset="local")
    raw.set("text", "é")
    raw.set("json", {"a": 1})
    assert asyncio.run(backend.get("text")) == "é".encode()
    assert asyncio.run(backend.get("json")) == b'{"a": 1}'


def test_a_value_that_is_too_large_leaves_no_old_one(target, namespace):
    backend = LarderBackend(target, namespace=namespace, preset="local")

    async def use():
        await backend.set("key", b"old")
        await backend.set("key", b"x" * 2 * 2**20)
        assert await backend.get("key") is None

    asyncio.run(use())


def test_without_a_server(stopped, namespace):
    backend = LarderBackend(stopped, namespace=namespace)

    async def use():
        assert await backend.get("key") is None
        assert await backend.get_with_ttl("key") == (0, None)
        await backend.set("key", b"value", 60)
        for clear in (backend.clear("items"), backend.clear(key="key")):
            with pytest.raises(LarderError):
                await clear

    asyncio.run(use())


def test_on_error_raise(stopped, namespace):
    backend = LarderBackend(stopped, namespace=namespace, on_error="raise")
    with pytest.raises(LarderError):
        asyncio.run(backend.get("key"))
