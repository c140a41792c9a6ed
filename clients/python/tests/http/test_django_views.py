"""Cached views of Django, with Django's test clients against the real server."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import types

import django
import http_server
import pytest
from django.conf import settings

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF="larder_test_urls",
        SECRET_KEY="only for tests",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=True,
    )
    django.setup()

from django.core.exceptions import PermissionDenied  # noqa: E402
from django.http import (  # noqa: E402
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.middleware.csrf import get_token  # noqa: E402
from django.template import engines  # noqa: E402
from django.template.response import TemplateResponse  # noqa: E402
from django.test import AsyncClient, Client  # noqa: E402
from django.urls import clear_url_caches, path  # noqa: E402
from django.utils.decorators import method_decorator  # noqa: E402
from django.views import View  # noqa: E402

from larder_cache.http.cached_endpoint import framework_of  # noqa: E402
from larder_cache.http.django import cached_endpoint  # noqa: E402

server, client, space = http_server.server, http_server.client, http_server.space


class Site:
    """A URL configuration, and the calls of its views."""

    def __init__(self, cache, space):
        self.cache, self.space = cache, space
        self.calls = []
        self.urls = types.ModuleType("larder_test_urls")
        self.urls.urlpatterns = []
        self.browser = Client(enforce_csrf_checks=False)
        self.async_browser = AsyncClient()

    def add(self, route, view):
        self.urls.urlpatterns.append(path(route, view))
        sys.modules["larder_test_urls"] = self.urls
        clear_url_caches()
        return view

    def cached(self, **options):
        return cached_endpoint(self.space, **{"client": self.cache, "ttl": 60, **options})

    def get(self, url="/", **options):
        return self.browser.get(url, **options)


@pytest.fixture
def site(client, space):
    return Site(client, space)


def states(*responses):
    return [response["X-Cache"] for response in responses]


def test_a_view_is_cached_with_its_headers(site):
    @site.cached()
    def view(request, kind):
        site.calls.append(kind)
        return HttpResponse(f"{kind}", content_type="text/x", headers={"X-Own": "1"})

    site.add("a/<kind>", view)
    one, two = site.get("/a/x"), site.get("/a/x")
    assert states(one, two) == ["MISS", "HIT"] and one.content == two.content == b"x"
    assert two["X-Own"] == "1" and two["Content-Type"] == "text/x"
    assert one["X-Cache-TTL-Remaining"] == "60" and one["Cache-Control"] == "no-cache"
    assert two["X-Cache-Date"].endswith("GMT") and int(two["Age"]) <= 5
    assert one["ETag"] == two["ETag"]
    assert states(site.get("/a/y"), site.get("/a/x?q=1")) == ["MISS", "MISS"]
    answer = site.get("/a/x", headers={"if-none-match": one["ETag"]})
    assert answer.status_code == 304 and answer["X-Cache"] == "HIT" and answer.content == b""


def test_what_may_not_be_shared_is_not_stored(site):
    def cookie(request):
        response = HttpResponse("x")
        response.set_cookie("a", "b")
        return response

    def session(request):
        request.session["a"] = len(site.calls)
        return HttpResponse("x")

    views = {
        "cookie": cookie,
        "session": session,
        "csrf": lambda request: HttpResponse(get_token(request)),
        "stream": lambda request: StreamingHttpResponse(iter([b"x"])),
        "status": lambda request: HttpResponse("x", status=201),
        "private": lambda request: HttpResponse("x", headers={"Cache-Control": "private"}),
    }
    for name, view in views.items():
        site.add(name, site.cached(name=name)(view))
        one, two = Client().get(f"/{name}"), Client().get(f"/{name}")
        assert states(one, two) == ["MISS", "MISS"], name
        assert not site.cache.namespace(site.space).contains(name)


def test_errors_are_answers_and_failures(site):
    space, site.space = site.space, "backoff"

    @site.cached(fetch_timeout=30, name="django-404")
    def missing(request):
        raise Http404

    @site.cached(fetch_timeout=30, name="django-403")
    def denied(request):
        raise PermissionDenied

    site.space = space

    @site.cached()
    def broken(request):
        site.calls.append(1)
        if len(site.calls) == 1:
            raise KeyError("broken")
        return HttpResponse("fine")

    site.add("missing", missing), site.add("denied", denied), site.add("broken", broken)
    began = time.monotonic()
    assert [site.get("/missing").status_code for _ in range(10)] == [404] * 10
    assert [site.get("/denied").status_code for _ in range(10)] == [403] * 10
    assert time.monotonic() - began < 5
    with pytest.raises(KeyError):
        site.get("/broken")
    assert states(site.get("/broken"), site.get("/broken")) == ["MISS", "HIT"]


def test_users_of_the_request(site):
    from django.contrib.auth.models import AnonymousUser, User

    def login(view):
        def wrapper(request, *args, **kwargs):
            number = request.headers.get("x-user")
            request.user = User(pk=int(number)) if number else AnonymousUser()
            return view(request, *args, **kwargs)

        return wrapper

    @login
    @site.cached(cache_by_user=True)
    def by_user(request):
        return HttpResponse(str(request.user.pk), headers={"Cache-Control": "private"})

    @login
    @site.cached(cache_by_user="user.pk")
    def by_path(request):
        return HttpResponse("x")

    @login
    @site.cached(cache_by_user="session.uid")
    def by_session(request):
        return HttpResponse("x")

    site.add("u", by_user), site.add("p", by_path), site.add("s", by_session)
    for url in ("/u", "/p"):
        answers = [site.get(url, headers={"x-user": number}) for number in "121"]
        assert states(*answers) == ["MISS", "MISS", "HIT"]
        assert states(site.get(url)) == ["BYPASS"]
    assert states(site.get("/s")) == ["BYPASS"]


def test_methods_bodies_and_authorization(site):
    @site.cached(methods=["GET", "POST"])
    def view(request):
        site.calls.append(1)
        return JsonResponse({"n": len(site.calls)})

    site.add("", view)
    post = site.browser.post
    one = post("/", {"a": 1, "b": 2}, content_type="application/json")
    two = post("/", '{"b":2,"a":1}', content_type="application/json")
    three = post("/", {"a": 2}, content_type="application/json")
    assert states(one, two, three) == ["MISS", "HIT", "MISS"]
    assert states(site.get(), site.browser.head("/"), site.browser.put("/")) == [
        "MISS", "HIT", "BYPASS",
    ]  # fmt: skip
    assert states(site.get("/", headers={"authorization": "x"})) == ["BYPASS"]


def test_the_other_options(site):
    @site.cached(
        vary_query_params=["q"],
        vary_headers=["Accept-Language"],
        debug=True,
        key="k:{a}",
        tags=["t:{a}"],
        ttl=lambda request: 70,
        skip_cache_fn=lambda r: r.headers.get("x-role"),
    )
    def view(request, a):
        site.calls.append(1)
        return HttpResponse("x")

    site.add("<int:a>", view)
    one = site.get("/1?q=1&z=1")
    assert one["X-Cache-Key"].startswith("k:1{") and one["Vary"] == "accept-language"
    assert one["X-Cache-TTL-Remaining"] == "70"
    assert states(site.get("/1?q=1&z=2"), site.get("/1?q=2")) == ["HIT", "MISS"]
    assert states(site.get("/1?q=1", headers={"accept-language": "de"})) == ["MISS"]
    assert states(site.get("/1?q=1", headers={"x-role": "a"})) == ["BYPASS"]
    site.cache.namespace(site.space).invalidate(tags=["t:1"])
    assert states(site.get("/1?q=1")) == ["MISS"]


def test_templates_are_rendered_before_they_are_stored(site):
    @site.cached()
    def view(request):
        site.calls.append(1)
        template = engines["django"].from_string("{{ n }}")
        return TemplateResponse(request, template, {"n": len(site.calls)})

    site.add("", view)
    assert [site.get().content, site.get().content] == [b"1", b"1"]


def test_classes(site):
    class Page(View):
        word = "a"

        def get(self, request, n):
            site.calls.append(self.word)
            return HttpResponse(f"{self.word}{n}")

    @method_decorator(site.cached(name="method"), name="get")
    class Decorated(View):
        def get(self, request):
            return HttpResponse("method")

    class Direct(View):
        @site.cached(name="direct")
        def get(self, request):
            return HttpResponse("direct")

    site.add("a/<int:n>", site.cached()(Page.as_view()))
    site.add("b/<int:n>", site.cached()(Page.as_view(word="b")))
    site.add("c", Decorated.as_view()), site.add("d", Direct.as_view())
    texts = {"/a/1": b"a1", "/a/2": b"a2", "/b/1": b"b1", "/c": b"method", "/d": b"direct"}
    for url, text in texts.items():
        one, two = site.get(url), site.get(url)
        assert states(one, two) == ["MISS", "HIT"] and one.content == two.content == text
    with pytest.raises(ValueError, match="has the argument word, which no name can hold"):
        site.cached()(Page.as_view(word=object()))


def test_helpers(site):
    @site.cached(key="u:{user_id}")
    def view(request, user_id, lang="en"):
        site.calls.append(1)
        return HttpResponse(str(len(site.calls)))

    site.add("<int:user_id>", view)
    site.get("/1"), site.get("/2"), site.get("/1?q=1")
    assert view.key(1) == ("u:1", {"lang": '"en"'})
    assert view.get(user_id=1).found and view.of(query=[("q", "1")]).get(1).found
    assert view.invalidate(1).deleted
    assert states(site.get("/1"), site.get("/1?q=1")) == ["MISS", "HIT"]
    view.invalidate_variants(1)
    assert states(site.get("/1?q=1"), site.get("/2")) == ["MISS", "HIT"]
    view.invalidate_all()
    assert states(site.get("/2")) == ["MISS"]
    with pytest.raises(TypeError, match="got no request"):
        view(1)
    request = HttpRequest()
    request.method = "GET"
    count = len(site.calls)
    assert view.refresh(request, user_id=2).content == str(count + 1).encode()
    assert site.get("/2").content == str(count + 1).encode()
    assert view.original(request, 2).content == str(count + 2).encode()


def test_asynchronous_views(server, space):
    site = Site(server.async_client(), space)

    @site.cached(cache_by_user=True, cache_anonymous=True)
    async def view(request, n):
        site.calls.append(n)
        return JsonResponse({"n": n})

    class Page(View):
        async def get(self, request):
            site.calls.append("class")
            return HttpResponse("class")

    site.add("<int:n>", view)
    site.add("c", site.cached()(Page.as_view()))

    async def main():
        for url in ("/1", "/c"):
            one, two = await site.async_browser.get(url), await site.async_browser.get(url)
            assert states(one, two) == ["MISS", "HIT"] and one.content == two.content
        assert await view.key(1) == (
            view.__module__ + ":" + view.__qualname__,
            {"@user": "anonymous", "n": "1"},
        )
        assert (await view.get(1)).found and (await view.invalidate(1)).deleted
        await site.cache.close()

    asyncio.run(main())
    assert site.calls == [1, "class"]


def test_a_stale_answer_is_refreshed_in_the_background(site):
    site.space = "swr"
    threads = []

    @site.cached(ttl=0.05, name="django-stale")
    def view(request):
        threads.append(threading.get_ident())
        return HttpResponse(str(len(threads)))

    site.add("", view)
    assert site.get().content == b"1"
    deadline = time.monotonic() + 10
    seen = set()
    while len(threads) < 2 or "STALE" not in seen:
        seen.update(states(site.get()))
        assert time.monotonic() < deadline


def test_the_framework_is_found():
    def django_view(request: HttpRequest):
        return None

    assert framework_of(django_view) == "django"
