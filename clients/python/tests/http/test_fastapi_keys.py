"""Keys of cached endpoints of FastAPI."""

from __future__ import annotations

from typing import Annotated, Any, Dict  # noqa: UP035

import fastapi
import fastapi_site
import http_server
import pydantic
import pytest
from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    Form,
    Header,
    Query,
    Request,
    Response,
)
from fastapi.security import APIKeyCookie
from fastapi_site import (
    Search,
    Session,
    User,
    get_current_user,
    get_db,
    of_tenant,
    page,
    states,
)

from larder_cache import UncacheableArgument

server, space = http_server.server, http_server.space
site = fastapi_site.site


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
    assert one.headers["cache-control"] == "private, no-cache"
    assert states(site.get()) == ["BYPASS"]


def test_credentials_without_a_known_user_are_not_anonymous(site):
    @site.app.get("/a")
    @site.cached(cache_by_user=True, cache_anonymous=True)
    async def a(caller: Annotated[User | None, Depends(get_current_user)]):
        return caller and caller.id

    @site.app.get("/b")
    @site.cached(cache_by_user=True, cache_anonymous=True, cache_authorized=True)
    async def b():
        return 1

    login = {"Authorization": "1"}
    private = [site.get("/a", headers=login), site.get("/a"), site.get("/a")]
    assert states(*private) == ["BYPASS", "MISS", "HIT"]
    assert [answer.json() for answer in private] == [1, None, None]
    assert states(site.get("/b", headers=login), site.get("/b")) == ["MISS", "HIT"]


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


def test_what_dependencies_are_made_of_is_in_the_key(site):
    @site.app.get("/tenant")
    @site.cached()
    async def tenant(name: Annotated[str, Depends(of_tenant)]):
        return name

    @site.app.get("/key")
    @site.cached()
    async def key(name: Annotated[str, Depends(APIKeyCookie(name="sid"))]):
        return name

    @site.app.get("/varies")
    @site.cached()
    async def varies(response: Response, name: Annotated[str, Depends(APIKeyCookie(name="sid"))]):
        # No header of the key: it has the name of the cookie only.
        response.headers["Vary"] = "sid"
        return name

    @site.app.get("/listed")
    @site.cached(vary_headers=["accept"])
    async def listed(name: Annotated[str, Depends(of_tenant)]):
        return name

    @site.app.get("/router", dependencies=[Depends(of_tenant)])
    @site.cached()
    async def router():
        return 1

    kinds = [{"x-tenant": name, "cookie": f"sid={name}"} for name in ("a", "b", "a")]
    for path in ("/tenant", "/key"):
        answers = [site.get(path, headers=headers) for headers in kinds]
        assert states(*answers) == ["MISS", "MISS", "HIT"]
        assert [answer.json() for answer in answers] == ["a", "b", "a"]
    # The answer of a session is that of one user.
    assert answers[0].headers["vary"] == "cookie"
    assert answers[0].headers["cache-control"] == "private, no-cache"
    assert site.get("/tenant", headers=kinds[0]).headers["vary"] == "x-tenant"
    assert states(*(site.get("/varies", headers=kinds[0]) for _ in range(2))) == ["MISS"] * 2
    for path in ("/listed", "/router"):
        assert states(*(site.get(path, headers=h) for h in kinds)) == ["MISS", "HIT", "HIT"]


class TenantHeaders(pydantic.BaseModel):
    x_tenant: str = ""
    language: str = pydantic.Field("en", alias="X-Lang")


class SessionCookies(pydantic.BaseModel):
    sid: str = ""


def tenant(h: Annotated[TenantHeaders, Header()]):
    return [h.x_tenant, h.language]


def session(c: Annotated[SessionCookies, Cookie()]):
    return c.sid


def test_models_of_headers_and_cookies_are_in_the_key(site):
    @site.app.get("/tenant")
    @site.cached()
    async def of_tenant(name: Annotated[list[str], Depends(tenant)]):
        return name

    @site.app.get("/session")
    @site.cached()
    async def of_session(name: Annotated[str, Depends(session)]):
        return name

    kinds = [{"x-tenant": "a"}, {"x-tenant": "b"}, {"x-tenant": "b", "x-lang": "de"}]
    answers = [site.get("/tenant", headers=headers) for headers in kinds * 2]
    assert states(*answers) == ["MISS"] * 3 + ["HIT"] * 3
    bodies = [["a", "en"], ["b", "en"], ["b", "de"]]
    assert [answer.json() for answer in answers] == bodies * 2
    answers = [site.get("/session", headers={"cookie": f"sid={name}"}) for name in "aba"]
    assert states(*answers) == ["MISS", "MISS", "HIT"]
    assert [answer.json() for answer in answers] == ["a", "b", "a"]


class AnyHeaders(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


def tenant_of_any(h: Annotated[AnyHeaders, Header()]):
    return h.model_dump()["x-tenant"]


def test_models_of_any_header_are_not_cached_without_names(site, caplog):
    @site.app.get("/any")
    @site.cached()
    async def of_any(name: Annotated[str, Depends(tenant_of_any)]):
        return name

    @site.app.get("/named")
    @site.cached(vary_headers=["X-Tenant"])
    async def of_named(name: Annotated[str, Depends(tenant_of_any)]):
        return name

    for path, expected in (("/any", ["BYPASS"] * 3), ("/named", ["MISS", "MISS", "HIT"])):
        answers = [site.get(path, headers={"x-tenant": name}) for name in "aba"]
        assert states(*answers) == expected
        assert [answer.json() for answer in answers] == ["a", "b", "a"]
    logged = [text for text in caplog.messages if "AnyHeaders takes any header" in text]
    assert len(logged) == 1 and "answers of /any are not cached" in logged[0]


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


def test_an_argument_that_cannot_be_a_key_is_named(site):
    @site.app.post("/")
    @site.cached(methods=["POST"], name="upload")
    async def upload(file: fastapi.UploadFile):
        return 1

    with pytest.raises(UncacheableArgument, match="the argument file of upload"):
        site.browser.post("/", files={"file": b"x"})
