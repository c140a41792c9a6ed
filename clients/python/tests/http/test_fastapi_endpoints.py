"""Cached endpoints of FastAPI and Starlette, with their test client against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import pickle
import threading
import time
from typing import Annotated, Any, Dict  # noqa: UP035

import fastapi
import pydantic
import pytest
from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
)
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi.testclient import TestClient

from larder_cache import UncacheableArgument
from larder_cache.decorators import compress, decompress
from larder_cache.http import StoredResponse
from larder_cache.http.fastapi import cached_endpoint


class Session:
    """A database session, which no key can hold."""

    open = True


class User(pydantic.BaseModel):
    id: int
    role: str = "user"


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=False)

    item_id: int = pydantic.Field(alias="itemId")
    at: datetime.datetime
    secret: str = "hidden"

    @pydantic.computed_field
    @property
    def double(self) -> int:
        return self.item_id * 2


class PublicItem(pydantic.BaseModel):
    item_id: int = pydantic.Field(alias="itemId", validation_alias="item_id")


class Search(pydantic.BaseModel):
    text: str
    limit: int = 10


def page(limit: int = 10):
    return limit


def get_db():
    session = Session()
    try:
        yield session
    finally:
        session.open = False


def get_current_user(authorization: Annotated[str | None, Header()] = None) -> User | None:
    return User(id=int(authorization)) if authorization else None


class Site:
    """An application whose endpoints are cached, and a browser of it."""

    def __init__(self, cache, space, browser_options=None):
        self.app = FastAPI()
        self.cache, self.space = cache, space
        self.calls: list[Any] = []
        self.browser = TestClient(self.app)

    def cached(self, **options):
        return cached_endpoint(self.space, **{"client": self.cache, "ttl": 60, **options})

    def get(self, path="/", **options):
        return self.browser.get(path, **options)


@pytest.fixture
def site(server, space):
    made = Site(server.async_client(), space)

    @made.app.middleware("http")
    async def login(request: Request, call_next):
        request.state.user_id = request.headers.get("x-user")
        return await call_next(request)

    with made.browser:
        yield made
        made.browser.portal.call(made.cache.close)


def states(*responses):
    return [response.headers["x-cache"] for response in responses]


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
    assert first.headers["cache-control"] == "max-age=60"
    assert second.headers["x-cache-date"].endswith("GMT") and int(second.headers["age"]) <= 5
    assert first.headers["etag"] == second.headers["etag"]
    assert "x-cache-key" not in second.headers
    assert states(site.get("/2"), site.get("/1?q=a")) == ["MISS", "MISS"]
    # What the endpoint cannot see does not split the cache.
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


def test_304(site):
    @site.app.get("/")
    @site.cached()
    async def read():
        return {"n": 1}

    tag = site.get().headers["etag"]
    answer = site.get(headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert answer.headers["x-cache"] == "HIT" and "content-type" not in answer.headers


def test_dependencies_are_not_in_the_key_and_run_each_time(site):
    ran = []

    def verify():
        ran.append(1)

    @site.app.get("/{item_id}", dependencies=[Depends(verify)])
    @site.cached()
    async def read(
        item_id: int,
        request: Request,
        response: Response,
        tasks: BackgroundTasks,
        old: Session = Depends(get_db),  # noqa: B008
        new: Annotated[Session | None, Depends(get_db)] = None,
    ):
        assert old.open and new.open
        return {"item_id": item_id}

    assert states(site.get("/1"), site.get("/1")) == ["MISS", "HIT"] and ran == [1, 1]


def test_the_query_counts_for_what_can_read_it(site):
    @site.app.get("/request")
    @site.cached()
    async def by_request(request: Request, q: str = "x"):
        return dict(request.query_params)

    @site.app.get("/dependency")
    @site.cached()
    async def by_dependency(limit: Annotated[int, Depends(page)]):
        return limit

    for path in ("/request", "/dependency"):
        one, two = site.get(f"{path}?limit=1"), site.get(f"{path}?limit=2")
        assert states(one, two, site.get(f"{path}?limit=1")) == ["MISS", "MISS", "HIT"]
    assert states(site.get("/request"), site.get("/request?q=x")) == ["MISS", "HIT"]


def test_only_listed_query_parameters_split_the_cache(site):
    @site.app.get("/{item_id}")
    @site.cached(vary_query_params=["filter", "kind"], cache_by_user=True)
    async def read(
        request: Request,
        item_id: int,
        filter: str = None,
        sort: str = None,
        kind_: str = Query("k", alias="kind"),
        current_user: User = Depends(get_current_user),  # noqa: B008
    ) -> Dict[str, Any]:  # noqa: UP006
        return {"sort": sort}

    login = {"Authorization": "1"}
    urls = ["/1?filter=a&sort=x", "/1?filter=a&sort=y", "/1?filter=b", "/2?filter=a", "/1?kind=z"]
    assert states(*(site.get(url, headers=login) for url in urls)) == [
        "MISS", "HIT", "MISS", "MISS", "MISS",
    ]  # fmt: skip


def test_one_entry_per_user_of_a_dependency(site):
    @site.app.get("/")
    @site.cached(cache_by_user=True)
    async def read(current_user: User | None = Depends(get_current_user)):  # noqa: B008
        return current_user and current_user.id

    one, two = site.get(headers={"Authorization": "1"}), site.get(headers={"Authorization": "2"})
    assert states(one, two, site.get(headers={"Authorization": "1"})) == ["MISS", "MISS", "HIT"]
    assert (one.json(), two.json()) == (1, 2)
    assert one.headers["cache-control"] == "private, max-age=60"
    assert states(site.get()) == ["BYPASS"]


def test_the_user_of_the_state_and_of_paths(site):
    @site.app.get("/a")
    @site.cached(cache_by_user=True)
    async def a():
        return 1

    @site.app.get("/b")
    @site.cached(cache_by_user="state.user_id")
    async def b():
        return 1

    @site.app.get("/c")
    @site.cached(cache_by_user="user.id")
    async def c(user: Annotated[User | None, Depends(get_current_user)]):
        return 1

    async def find(request):
        return request.headers.get("x-user")

    @site.app.get("/d")
    @site.cached(cache_by_user=find)
    async def d():
        return 1

    for path in "abcd":
        logins = [{"x-user": user, "authorization": user} for user in "121"]
        assert states(*(site.get(f"/{path}", headers=h) for h in logins)) == ["MISS", "MISS", "HIT"]
        assert states(site.get(f"/{path}")) == ["BYPASS"]


def test_authorization_bypasses_unless_by_user_or_allowed(site):
    @site.app.get("/a")
    @site.cached()
    async def a():
        return 1

    @site.app.get("/b")
    @site.cached(cache_authorized=True)
    async def b():
        return 1

    login = {"Authorization": "Bearer x"}
    assert states(*(site.get(p, headers=login) for p in ("/a", "/a", "/b", "/b"))) == [
        "BYPASS", "BYPASS", "MISS", "HIT",
    ]  # fmt: skip


def test_headers_and_cookies_of_the_endpoint_are_in_the_key(site):
    @site.app.get("/")
    @site.cached(vary_headers=["X-Tenant"])
    async def read(x_lang: Annotated[str, Header()] = "en", theme: str = Cookie("dark")):
        return [x_lang, theme]

    kinds = [{}, {"x-lang": "de"}, {"cookie": "theme=light"}, {"x-tenant": "t"}]
    assert states(*(site.get(headers=h) for h in kinds)) == ["MISS"] * 4
    again = [site.get(headers=h) for h in kinds]
    assert states(*again) == ["HIT"] * 4
    assert again[1].json() == ["de", "dark"] and again[1].headers["vary"] == "x-tenant"


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
        assert states(one, two) == ["MISS", "HIT"]
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


def test_http_exceptions_are_answers_and_make_nobody_wait(site):
    @site.app.get("/")
    @site.cached(fetch_timeout=30)
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


def test_the_body_of_a_post(site):
    @site.app.post("/model")
    @site.cached(methods=["POST"])
    async def by_model(search: Search, page: int = 1):
        return search.text

    @site.app.post("/request")
    @site.cached(methods=["POST"])
    async def by_request(request: Request):
        return await request.json()

    @site.app.post("/form")
    @site.cached(methods=["POST"])
    async def by_form(request: Request, text: str = Form()):
        return text

    @site.app.post("/plain")
    @site.cached()
    async def plain():
        return 1

    post = site.browser.post
    bodies = [{"text": "a"}, {"limit": 10, "text": "a"}, {"text": "b"}]
    assert states(*(post("/model", json=body) for body in bodies)) == ["MISS", "HIT", "MISS"]
    raw = ['{"a":1,"b":2}', '{"b": 2, "a": 1.0}', '{"a":2}']
    json_type = {"content-type": "application/json"}
    assert states(*(post("/request", content=b, headers=json_type) for b in raw)) == [
        "MISS", "HIT", "MISS",
    ]  # fmt: skip
    assert states(*(post("/form", data={"text": t}) for t in "aab")) == ["MISS", "HIT", "MISS"]
    assert states(post("/plain"), post("/plain")) == ["BYPASS", "BYPASS"]


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


def test_key_builders(site):
    def build(request, namespace):
        return f"cache:{namespace}:{request.path_params['company_id']}"

    async def of_fastapi_cache(func, namespace, *, request, response, args, kwargs):
        return f"{namespace}:{func.__name__}:{kwargs['a']}"

    @site.app.get("/companies/{company_id}/pickups")
    @site.cached(key_builder=build)
    async def pickups(request: Request, company_id: int, status: str = "all"):
        return status

    @site.app.get("/b/{a}")
    @site.cached(key_builder=of_fastapi_cache, debug=True)
    async def b(a: int):
        return a

    urls = ["/companies/1/pickups", "/companies/1/pickups?status=x", "/companies/2/pickups"]
    assert states(*map(site.get, urls)) == ["MISS", "HIT", "MISS"]
    assert site.get("/b/5").headers["x-cache-key"] == f"{site.space}:b:5"


def test_templates_and_tags(site):
    @site.app.get("/users/{user_id}")
    @site.cached(key="{user_id}:profile", tags=["user:{user_id}"], debug=True)
    async def profile(user_id: int):
        return user_id

    assert site.get("/users/7").headers["x-cache-key"] == "7:profile"
    site.get("/users/8")
    site.browser.portal.call(
        lambda: site.cache.namespace(site.space).invalidate(tags=["user:7"], globs=["9:*"])
    )
    assert states(site.get("/users/7"), site.get("/users/8")) == ["MISS", "HIT"]


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
    assert site.get().json() == {"n": 3}
    assert site.get("/?fresh=1").json() == {"n": 4} == site.get().json()
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


def test_routers_and_classes(site):
    router = fastapi.APIRouter(prefix="/r", dependencies=[Depends(get_db)])

    @router.get("/x", tags=["t"])
    @site.cached()
    async def x():
        return 1

    site.app.include_router(router)
    assert states(site.get("/r/x"), site.get("/r/x")) == ["MISS", "HIT"]


def test_an_argument_that_cannot_be_a_key_is_named(site):
    @site.app.post("/")
    @site.cached(methods=["POST"], name="upload")
    async def upload(file: fastapi.UploadFile):
        return 1

    with pytest.raises(UncacheableArgument, match="the argument file of upload"):
        site.browser.post("/", files={"file": b"x"})


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
