"""Cached endpoints of FastAPI and Starlette, with their test client against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any, Dict  # noqa: UP035

import fastapi
import fastapi_site
import http_server
import pytest
from fastapi import (
    Depends,
    Request,
)
from fastapi.testclient import TestClient
from fastapi_site import (
    Session,
    get_db,
    states,
)

from larder_cache.http import StoredResponse
from larder_cache.http.fastapi import cached_endpoint

server, space = http_server.server, http_server.space
site = fastapi_site.site


def test_an_endpoint_without_a_request_parameter(site):
    @site.app.get("/{item_id}")
    @site.cached()
    async def read(item_id: int, q: str | None = None) -> Dict[str, Any]:  # noqa: UP006
        site.calls.append(item_id)
        return {"item_id": item_id, "q": q}

    first, second = site.get("/1"), site.get("/1")
    assert states(first, second) == ["MISS", "HIT"]
    assert first.json() == second.json() == {"item_id": 1, "q": None}
    assert first.headers["x-cache-ttl-remaining"] == "60"
    assert first.headers["cache-control"] == "no-cache"
    assert second.headers["x-cache-date"].endswith("GMT") and int(second.headers["age"]) <= 5
    assert first.headers["etag"] == second.headers["etag"]
    assert "x-cache-key" not in second.headers
    assert states(site.get("/2"), site.get("/1?q=a")) == ["MISS", "MISS"]
    # A parameter that the endpoint cannot see does not split the cache.
    assert states(site.get("/1?utm=5")) == ["HIT"]
    assert site.get("/x").status_code == 422
    schema = site.get("/openapi.json").json()["paths"]["/{item_id}"]["get"]
    assert [p["name"] for p in schema["parameters"]] == ["item_id", "q"]


def test_a_blocking_endpoint_runs_in_the_thread_pool(site):
    @site.app.get("/")
    @site.cached()
    def read():
        site.calls.append(threading.current_thread())
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return {"n": len(site.calls)}

    assert states(site.get(), site.get()) == ["MISS", "HIT"] and len(site.calls) == 1


def test_ttls_from_the_request(site):
    @site.app.get("/history")
    @site.cached(
        ttl=None,
        ttl_function=lambda request: (
            86400 if request.query_params.get("historical") == "true" else 300
        ),
    )
    def history(request):
        return {"path": request.url.path}

    @site.app.get("/adaptive")
    @site.cached(ttl=lambda request: 77)
    async def adaptive():
        return 1

    @site.app.get("/by-result")
    @site.cached(ttl=lambda request, response: response["ttl"])
    async def by_result():
        return {"ttl": 78}

    assert site.get("/history?historical=true").headers["x-cache-ttl-remaining"] == "86400"
    assert site.get("/history").headers["x-cache-ttl-remaining"] == "300"
    assert site.get("/adaptive").headers["x-cache-ttl-remaining"] == "77"
    assert site.get("/by-result").headers["x-cache-ttl-remaining"] == "78"


def test_skipping_and_forcing(site):
    on = True

    async def skip(request):
        return request.headers.get("x-role") == "admin"

    @site.app.get("/")
    @site.cached(
        skip_cache_fn=skip,
        forced_update=lambda request: "fresh" in request.query_params,
        enabled=lambda: on,
        cache_if=lambda result: result["n"] != 2,
    )
    async def read():
        site.calls.append(1)
        return {"n": len(site.calls)}

    assert states(site.get(headers={"x-role": "admin"})) == ["BYPASS"]
    assert states(site.get(), site.get()) == ["MISS", "MISS"]
    # A key that could not be stored a moment ago is computed without a lease, and not stored.
    assert [site.get().json() for _ in range(2)] == [{"n": 4}, {"n": 4}]
    assert site.get("/?fresh=1").json() == {"n": 5} == site.get().json()
    on = False
    assert states(site.get()) == ["BYPASS"]


def test_no_cache_of_the_client(site):
    @site.app.get("/a")
    @site.cached()
    async def a():
        return 1

    @site.app.get("/b")
    @site.cached(honour_no_cache=True)
    async def b():
        return 1

    site.get("/a"), site.get("/b")
    asked = {"Cache-Control": "no-cache"}
    assert states(site.get("/a", headers=asked), site.get("/b", headers=asked)) == ["HIT", "MISS"]


def test_routers_and_classes(site):
    router = fastapi.APIRouter(prefix="/r", dependencies=[Depends(get_db)])

    @router.get("/x", tags=["t"])
    @site.cached()
    async def x():
        return 1

    site.app.include_router(router)
    assert states(site.get("/r/x"), site.get("/r/x")) == ["MISS", "HIT"]


def test_helpers(site):
    @site.app.get("/users/{user_id}")
    @site.cached(key="u:{user_id}")
    async def read(user_id: int, lang: str = "en", db: Session = Depends(get_db)):  # noqa: B008
        site.calls.append(1)
        return {"n": len(site.calls)}

    call = site.browser.portal.call
    site.get("/users/1"), site.get("/users/1?lang=de"), site.get("/users/2")
    assert call(read.key, 1) == ("u:1", {"lang": '"en"'})
    assert call(read.get, 1).value == {"n": 1}
    assert call(lambda: read.get(1, lang="de")).found
    assert call(read.invalidate, 1).deleted
    assert states(site.get("/users/1"), site.get("/users/1?lang=de")) == ["MISS", "HIT"]
    call(read.invalidate_variants, 1)
    assert states(site.get("/users/1"), site.get("/users/1?lang=de")) == ["MISS", "MISS"]
    assert states(site.get("/users/2")) == ["HIT"]
    call(read.invalidate_all)
    assert states(site.get("/users/2")) == ["MISS"]
    assert call(read.set, {"n": 99}, 3)
    assert site.get("/users/3").json() == {"n": 99}
    assert call(read.set, StoredResponse(200, [], b"whole"), 4)
    assert site.get("/users/4").text == "whole"
    assert call(read.original, 5) == {"n": len(site.calls)}
    assert call(read.bypass, 5) == {"n": len(site.calls)}
    with pytest.raises(TypeError, match="got no request"):
        call(read, 5)


def test_refresh_within_a_request(site):
    @site.app.get("/")
    @site.cached(name="r")
    async def read(request: Request):
        site.calls.append(1)
        return len(site.calls)

    @site.app.post("/refresh")
    async def refresh(request: Request):
        return await read.refresh(request=as_get(request))

    def as_get(request):
        return Request({**request.scope, "method": "GET"}, request.receive)

    site.get()
    assert site.browser.post("/refresh").json() == 2
    assert site.get().json() == 2


def test_concurrent_requests_run_the_endpoint_once(site):
    release = asyncio.Event()

    @site.app.get("/")
    @site.cached()
    async def read():
        site.calls.append(1)
        await release.wait()
        return 1

    found = []
    threads = [threading.Thread(target=lambda: found.append(site.get())) for _ in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while not site.calls:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    site.browser.portal.call(asyncio.sleep, 0.05)
    site.browser.portal.call(release.set)
    for thread in threads:
        thread.join(20)
    assert len(site.calls) == 1 and {response.json() for response in found} == {1}


def test_a_refresh_holds_the_request_while_its_session_is_open(site):
    site.space = "swr"
    seen = []

    @site.app.get("/")
    @site.cached(ttl=0.05, name="held")
    async def read(db: Session = Depends(get_db)):  # noqa: B008
        await asyncio.sleep(0.02)
        seen.append(db.open)
        return len(seen)

    assert site.get().json() == 1
    deadline = time.monotonic() + 10
    while len(seen) < 4:
        site.get()
        assert time.monotonic() < deadline
    assert all(seen)


def test_starlette_itself(server, space):
    from starlette.applications import Starlette
    from starlette.endpoints import HTTPEndpoint
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    cache = server.async_client()
    calls = []

    @cached_endpoint(space, client=cache)
    async def read(request):
        calls.append(1)
        return PlainTextResponse(request.path_params["a"] + request.query_params.get("q", ""))

    @cached_endpoint(space, client=cache)
    def blocking(request):
        calls.append(1)
        return PlainTextResponse("b")

    class View(HTTPEndpoint):
        @cached_endpoint(space, client=cache)
        async def get(self, request):
            calls.append(1)
            return PlainTextResponse("c")

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        await cache.close()

    routes = [Route("/a/{a}", read), Route("/b", blocking), Route("/c", View)]
    with TestClient(Starlette(routes=routes, lifespan=lifespan)) as browser:
        for path in ("/a/1", "/a/2", "/a/1?q=x", "/b", "/c"):
            one, two = browser.get(path), browser.get(path)
            assert states(one, two) == ["MISS", "HIT"] and one.text == two.text, path
    assert len(calls) == 5


def test_generators_are_refused():
    with pytest.raises(TypeError, match="is an asynchronous generator"):

        @cached_endpoint("n")
        async def read():
            yield 1
