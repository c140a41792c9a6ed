"""Stored values and answers of cached endpoints of FastAPI."""

from __future__ import annotations

import datetime
import json
import pickle
import time
from typing import Any  # noqa: UP035

import fastapi_site
import http_server
import pydantic
import pytest
from fastapi import (
    BackgroundTasks,
    Depends,
    HTTPException,
    Request,
    Response,
)
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi_site import (
    Item,
    PublicItem,
    User,
    states,
)

from larder_cache.decorators import compress, decompress

server, space = http_server.server, http_server.space
site = fastapi_site.site


def test_304(site):
    @site.app.get("/")
    @site.cached()
    async def read():
        return {"n": 1}

    tag = site.get().headers["etag"]
    answer = site.get(headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert answer.headers["x-cache"] == "HIT" and "content-type" not in answer.headers


def test_response_models_are_kept(site):
    made = Item(itemId=1, at=datetime.datetime(2026, 1, 1), secret="s")

    @site.app.get("/annotated")
    @site.cached()
    async def annotated() -> Item:
        return made

    @site.app.get("/narrowed", response_model=PublicItem)
    @site.cached()
    async def narrowed() -> Any:
        return made

    @site.app.get(
        "/list", response_model=list[Item], response_model_exclude={"__all__": {"secret"}}
    )
    @site.cached()
    def many():
        return [{"itemId": 1, "at": made.at}]

    @site.app.get("/unset", response_model=User, response_model_exclude_unset=True)
    @site.cached()
    def unset():
        return User(id=1)

    for path in ("/annotated", "/narrowed", "/list", "/unset"):
        one, two = site.get(path), site.get(path)
        # Older pydantic cannot read what differs in its aliases for reading and writing.
        is_read = path != "/narrowed" or pydantic.VERSION >= "2.11"
        assert states(one, two) == ["MISS", "HIT" if is_read else "MISS"]
        assert one.json() == two.json()
    assert site.get("/annotated").json()["double"] == 2
    assert site.get("/narrowed").json() == {"itemId": 1}
    assert site.get("/unset").json() == {"id": 1}
    assert "secret" not in site.get("/list").json()[0]


def test_values_without_a_model(site):
    class Record:
        def __init__(self):
            self.a, self.at = 1, datetime.date(2026, 1, 1)

    @site.app.get("/none", response_model=None)
    @site.cached()
    async def none():
        site.calls.append(1)

    @site.app.get("/object", response_model=None)
    @site.cached()
    async def record():
        return Record()

    for path, body in (("/none", None), ("/object", {"a": 1, "at": "2026-01-01"})):
        one, two = site.get(path), site.get(path)
        assert states(one, two) == ["MISS", "HIT"] and one.json() == two.json() == body
    assert site.calls == [1]


def test_whole_responses_keep_status_headers_and_body(site):
    @site.app.get("/html", response_class=HTMLResponse)
    @site.cached()
    async def page():
        return HTMLResponse("<p>é</p>", headers={"X-Own": "1"})

    @site.app.get("/404")
    @site.cached(statuses=(200, 404))
    async def missing():
        return JSONResponse({"error": 1}, status_code=404)

    one, two = site.get("/html"), site.get("/html")
    assert states(one, two) == ["MISS", "HIT"] and one.text == two.text == "<p>é</p>"
    assert (
        two.headers["x-own"] == "1" and two.headers["content-type"] == one.headers["content-type"]
    )
    assert len(two.headers.get_list("content-length")) == 1
    site.get("/404")
    again = site.get("/404")
    assert states(again) == ["HIT"] and (again.status_code, again.json()) == (404, {"error": 1})


def test_headers_that_an_endpoint_sets_on_the_injected_response(site):
    @site.app.get("/")
    @site.cached()
    async def read(response: Response):
        response.headers["X-Own"] = "1"
        return {"a": 1}

    @site.app.get("/cookie")
    @site.cached()
    async def cookie(response: Response):
        response.set_cookie("a", "b")
        return {"a": 1}

    @site.app.get("/status")
    @site.cached()
    async def status(response: Response):
        response.status_code = 202
        return {"a": 1}

    site.get()
    again = site.get()
    assert states(again) == ["HIT"] and again.headers["x-own"] == "1" and again.json() == {"a": 1}
    for path in ("/cookie", "/status"):
        assert states(site.get(path), site.get(path)) == ["MISS", "MISS"]


def test_what_passes_through(site):
    async def chunks():
        yield "a"

    @site.app.get("/stream")
    @site.cached()
    async def stream():
        return StreamingResponse(chunks())

    @site.app.get("/task")
    @site.cached()
    async def task(tasks: BackgroundTasks):
        tasks.add_task(site.calls.append, 1)
        return 1

    @site.app.get("/own-task")
    @site.cached()
    async def own_task():
        from starlette.background import BackgroundTask

        return JSONResponse(1, background=BackgroundTask(site.calls.append, 1))

    @site.app.get("/no-store")
    @site.cached()
    async def no_store():
        return JSONResponse(1, headers={"Cache-Control": "no-store"})

    @site.app.get("/created", status_code=201)
    @site.cached()
    async def created():
        return 1

    for path in ("/stream", "/task", "/own-task", "/no-store", "/created"):
        assert states(site.get(path), site.get(path)) == ["MISS", "MISS"], path
    assert site.calls == [1] * 4


def test_an_answer_that_changes_the_session_is_not_stored(site):
    def begin(request: Request):
        request.scope["session"] = {"cart": {"items": []}}

    @site.app.get("/add", dependencies=[Depends(begin)])
    @site.cached()
    async def add(request: Request):
        request.session["cart"]["items"].append(1)
        return request.session["cart"]["items"]

    @site.app.get("/read", dependencies=[Depends(begin)])
    @site.cached()
    async def read(request: Request):
        return len(request.session)

    added = [site.get("/add") for _ in range(2)]
    assert states(*added) == ["MISS"] * 2
    assert [answer.json() for answer in added] == [[1], [1]]
    assert states(site.get("/read"), site.get("/read")) == ["MISS", "HIT"]


def test_a_value_from_before_an_invalidation_is_not_stored(site):
    steps = ["uncacheable", "overtaken", "new"]

    @site.app.get("/")
    @site.cached(key="overtaken")
    async def read():
        step = steps.pop(0)
        if step == "uncacheable":
            raise HTTPException(404)
        if step == "overtaken":
            await site.cache.namespace(site.space).delete("overtaken")
        return step

    assert site.get().status_code == 404
    answers = [site.get() for _ in range(3)]
    assert states(*answers) == ["MISS", "MISS", "HIT"]
    assert [answer.json() for answer in answers] == ["overtaken", "new", "new"]


def test_http_exceptions_are_answers_and_make_nobody_wait(site):
    site.space = "backoff"

    @site.app.get("/")
    @site.cached(fetch_timeout=30, name="fastapi-404")
    async def read():
        site.calls.append(1)
        raise HTTPException(404, "gone")

    began = time.monotonic()
    assert [site.get().status_code for _ in range(20)] == [404] * 20
    assert time.monotonic() - began < 5 and len(site.calls) == 20


def test_failures_are_not_cached(site):
    @site.app.get("/")
    @site.cached()
    async def read():
        site.calls.append(1)
        if len(site.calls) == 1:
            raise KeyError("broken")
        return 1

    with pytest.raises(KeyError, match="broken"):
        site.get()
    assert states(site.get(), site.get()) == ["MISS", "HIT"]


def test_head_shares_the_entry_of_get(site):
    @site.app.api_route("/", methods=["GET", "HEAD"])
    @site.cached()
    async def read():
        site.calls.append(1)
        return 1

    assert states(site.browser.head("/"), site.get(), site.browser.head("/")) == [
        "MISS", "MISS", "HIT",
    ]  # fmt: skip
    assert len(site.calls) == 2


def test_serializers(site):
    @site.app.get("/compressed")
    @site.cached(serializer=compress, deserializer=decompress, key="c")
    async def compressed():
        return {"a": "x" * 5000}

    @site.app.get("/pickled")
    @site.cached(serializer=lambda v: pickle.dumps(v), deserializer=lambda v: pickle.loads(v))
    async def pickled():
        return {"at": datetime.date(2026, 1, 1)}

    @site.app.get("/json")
    @site.cached(serializer=json.dumps, deserializer=json.loads)
    async def by_json():
        return {"a": 1}

    for path in ("/compressed", "/pickled", "/json"):
        one, two = site.get(path), site.get(path)
        assert states(one, two) == ["MISS", "HIT"] and one.json() == two.json()

    async def stored():
        return (await site.cache.namespace(site.space).get("c")).value

    assert len(site.browser.portal.call(stored)) < 200


def test_stored_bytes_are_answered_if_so_asked(site):
    @site.app.get("/", response_model=PublicItem)
    @site.cached(serve_bytes=True, key="b")
    async def read(response: Response):
        response.headers["X-Own"] = "1"
        return Item(itemId=1, at=datetime.datetime(2026, 1, 1))

    @site.app.get("/plain", response_model=None)
    @site.cached(serve_bytes=True)
    async def plain():
        return {"at": datetime.date(2026, 1, 1)}

    one, two = site.get(), site.get()
    assert states(one, two) == ["MISS", "HIT"]
    assert one.json() == two.json() == {"itemId": 1} and two.headers["x-own"] == "1"
    assert two.headers["content-type"] == "application/json"
    assert site.get("/plain").json() == site.get("/plain").json() == {"at": "2026-01-01"}

    async def stored():
        return (await site.cache.namespace(site.space).get("b")).value

    assert site.browser.portal.call(stored).endswith(b'{"itemId":1}')
