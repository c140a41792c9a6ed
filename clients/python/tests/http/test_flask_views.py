"""Cached views of Flask, with Flask's test client against the real server."""

import json
import threading
import time

import flask
import pytest

from larder_cache import Client, UncacheableArgument
from larder_cache.http import StoredResponse
from larder_cache.http.flask import cached_endpoint

SECRET = "only for tests"


class Site:
    """An application with one cached view, and the calls of that view."""

    def __init__(self, client, space):
        self.app = flask.Flask("site")
        self.app.secret_key = SECRET
        self.app.testing = True
        self.client, self.space = client, space
        self.calls = []

    def view(self, rule="/", methods=("GET",), answer=None, **options):
        options = {"client": self.client, "ttl": 60, **options}

        def view(**arguments):
            self.calls.append(arguments)
            return {"n": len(self.calls)} if answer is None else answer(**arguments)

        # Views have parameters of their own; this one takes those of every rule.
        view.__name__ = view.__qualname__ = f"view{len(self.app.view_functions)}"
        cached = cached_endpoint(self.space, **options)(view)
        self.app.add_url_rule(rule, view_func=cached, methods=list(methods))
        return cached

    def get(self, path="/", **options):
        return self.app.test_client().get(path, **options)


@pytest.fixture
def site(client, space):
    return Site(client, space)


def states(*responses):
    return [response.headers["X-Cache"] for response in responses]


def test_an_answer_is_stored_with_its_headers(site):
    site.view(answer=lambda: flask.Response("body", headers={"X-Own": "1"}, mimetype="text/x"))
    first, second = site.get(), site.get()
    assert states(first, second) == ["MISS", "HIT"]
    assert second.data == first.data == b"body"
    assert second.headers["X-Own"] == "1" and second.mimetype == "text/x"
    assert first.headers["X-Cache-TTL-Remaining"] == "60"
    assert 0 <= 60 - int(second.headers["X-Cache-TTL-Remaining"]) <= 5
    assert second.headers["X-Cache-Date"].endswith("GMT")
    assert int(second.headers["Age"]) <= 5
    assert first.headers["Cache-Control"] == "max-age=60"
    assert 55 <= int(second.headers["Cache-Control"].removeprefix("max-age=")) <= 60
    assert "X-Cache-Key" not in second.headers
    assert first.headers["ETag"] == second.headers["ETag"] == site.get().headers["ETag"]
    assert len(site.calls) == 1


def test_if_none_match_is_answered_304(site):
    site.view()
    tag = site.get().headers["ETag"]
    answer = site.get(headers={"If-None-Match": f'"x", {tag}'})
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == tag and answer.headers["X-Cache"] == "HIT"
    assert "Content-Type" not in answer.headers
    assert site.get(headers={"If-None-Match": '"other"'}).status_code == 200
    assert len(site.calls) == 1


def test_an_etag_and_cache_control_of_the_view_are_kept(site):
    own = {"ETag": '"own"', "Cache-Control": "public, max-age=5"}
    site.view(answer=lambda: flask.Response("x", headers=own))
    site.get()
    again = site.get()
    assert (
        again.headers["ETag"] == '"own"' and again.headers["Cache-Control"] == own["Cache-Control"]
    )
    assert site.get(headers={"If-None-Match": '"own"'}).status_code == 304


def test_cache_control_can_be_set_or_left_out(site):
    site.view("/a", cache_control=False)
    site.view("/b", cache_control="no-cache")
    assert "Cache-Control" not in site.get("/a").headers
    assert site.get("/b").headers["Cache-Control"] == "no-cache"


def test_the_arguments_and_the_query_are_the_key(site):
    site.view("/a/<kind>")
    answers = [site.get(p) for p in ("/a/x", "/a/y", "/a/x?q=1", "/a/x?q=2", "/a/x?q=1&q=1")]
    assert states(*answers) == ["MISS"] * 5
    assert states(site.get("/a/x?q=1"), site.get("/a/y")) == ["HIT", "HIT"]
    assert states(site.get("/a/x?a=1&b=2"), site.get("/a/x?b=2&a=1")) == ["MISS", "HIT"]


def test_only_listed_query_parameters_split_the_cache(site):
    site.view(vary_query_params=["filter", "sort"])
    assert states(site.get("/?filter=1&utm=1"), site.get("/?utm=2&filter=1")) == ["MISS", "HIT"]
    assert states(site.get("/?filter=2"), site.get("/?filter=1&sort=x")) == ["MISS", "MISS"]


def test_no_query_parameter_splits_the_cache_for_an_empty_list(site):
    site.view(vary_query_params=[])
    assert states(site.get("/?a=1"), site.get("/?a=2")) == ["MISS", "HIT"]


def test_listed_headers_split_the_cache(site):
    site.view(vary_headers=["Accept-Language"])
    one = site.get(headers={"Accept-Language": "de"})
    assert one.headers["Vary"] == "accept-language"
    two = site.get(headers={"Accept-Language": "en"})
    assert states(one, two, site.get(headers={"accept-language": "de"})) == ["MISS", "MISS", "HIT"]


def test_the_key_is_shown_only_if_asked(site):
    site.view("/<a>", key="x:{a}", debug=True)
    assert site.get("/1?q=é").headers["X-Cache-Key"] == r'x:1{"query:q":"[\"\u00e9\"]"}'


@pytest.mark.parametrize(
    "answer",
    [
        lambda: ("gone", 404),
        lambda: flask.Response("x", headers={"Set-Cookie": "a=b"}),
        lambda: flask.Response("x", headers={"Cache-Control": "no-store"}),
        lambda: flask.Response("x", headers={"Cache-Control": "private"}),
        lambda: flask.Response("x", headers={"Vary": "Cookie"}),
        lambda: flask.Response(iter(["a", "b"])),
        lambda: flask.session.update(user=1) or "x",
    ],
)
def test_what_may_not_be_shared_is_not_stored(site, answer):
    site.view(answer=answer)
    one, two = site.get(), site.get()
    assert states(one, two) == ["MISS", "MISS"]
    assert one.data == two.data and len(site.calls) == 2
    assert "ETag" not in two.headers and "Age" not in two.headers


def test_other_statuses_are_stored_if_listed(site):
    site.view(answer=lambda: ("gone", 404), statuses=(200, 404))
    one, two = site.get(), site.get()
    assert states(one, two) == ["MISS", "HIT"]
    assert (two.status_code, two.data) == (404, b"gone")


def test_errors_are_answers_and_failures(site):
    def answer():
        if len(site.calls) == 1:
            flask.abort(404)
        if len(site.calls) == 2:
            raise KeyError("broken")
        return "fine"

    site.view(answer=answer)
    assert site.get().status_code == 404
    with pytest.raises(KeyError, match="broken"):
        site.get()
    assert states(site.get(), site.get()) == ["MISS", "HIT"]


def test_a_404_makes_no_other_caller_wait(site):
    site.view(answer=lambda: flask.abort(404), fetch_timeout=30)
    began = time.monotonic()
    assert [site.get().status_code for _ in range(20)] == [404] * 20
    assert time.monotonic() - began < 5


def test_head_shares_the_entry_of_get(site):
    site.view()
    head = site.app.test_client().head("/")
    assert states(head) == ["MISS"]
    assert states(site.get()) == ["MISS"]
    head = site.app.test_client().head("/")
    assert states(head) == ["HIT"] and head.data == b"" and len(site.calls) == 2


def test_other_methods_pass_unless_listed(site):
    site.view("/a", methods=["GET", "POST"])
    post = site.app.test_client().post
    assert states(post("/a"), post("/a"), site.get("/a")) == ["BYPASS", "BYPASS", "MISS"]


def test_the_body_is_part_of_the_key_of_a_post(client, space):
    site = Site(client, space)
    options = {"methods": ("POST",), "client": client, "ttl": 60}

    @site.app.post("/")
    @cached_endpoint(space, **options)
    def valuation():
        site.calls.append(flask.request.get_json())
        return {"price": len(site.calls)}

    post = site.app.test_client().post
    one = post("/", json={"a": 1, "b": 2})
    assert states(
        one,
        post("/", data='{"b":2, "a":1.0}', content_type="application/json"),
        post("/", json={"a": 2}),
    ) == ["MISS", "HIT", "MISS"]
    assert "max-age" in one.headers["Cache-Control"]


def test_authorization_is_not_answered_from_the_cache(site):
    site.view("/a")
    site.view("/b", cache_authorized=True)
    login = {"Authorization": "Bearer x"}
    site.get("/a"), site.get("/b")
    assert states(site.get("/a", headers=login), site.get("/b", headers=login)) == ["BYPASS", "HIT"]
    assert states(site.get("/a")) == ["HIT"]


def by_header(request):
    return request.headers.get("X-User")


def test_one_entry_per_user(site):
    site.view(cache_by_user=by_header)
    one = site.get(headers={"X-User": "1", "Authorization": "x"})
    two = site.get(headers={"X-User": "2"})
    assert states(one, two, site.get(headers={"X-User": "1"})) == ["MISS", "MISS", "HIT"]
    assert one.headers["Cache-Control"] == "private, max-age=60"
    assert states(site.get(), site.get()) == ["BYPASS", "BYPASS"]


def test_calls_without_a_user_share_an_entry_if_so_asked(site):
    site.view(cache_by_user=by_header, cache_anonymous=True)
    assert states(site.get(), site.get(), site.get(headers={"X-User": "anonymous"})) == [
        "MISS", "HIT", "MISS",
    ]  # fmt: skip


def test_the_user_is_found_in_g_and_by_a_path(site):
    @site.app.before_request
    def login():
        flask.g.user = {"id": flask.request.headers.get("X-User")}

    site.view("/a", cache_by_user=True)
    site.view("/b", cache_by_user="g.user.id")
    site.view("/c", cache_by_user="session.uid")
    for path in ("/a", "/b"):
        one, two = (site.get(path, headers={"X-User": user}) for user in "12")
        assert states(one, two, site.get(path, headers={"X-User": "1"})) == ["MISS", "MISS", "HIT"]
        assert states(site.get(path)) == ["BYPASS"]
    browser = site.app.test_client()
    assert states(browser.get("/c")) == ["BYPASS"]
    with browser.session_transaction() as session:
        session["uid"] = 5
    assert states(browser.get("/c"), browser.get("/c")) == ["MISS", "HIT"]


def test_private_answers_are_stored_by_user_only(site):
    site.view(
        answer=lambda: flask.Response("x", headers={"Cache-Control": "private"}),
        cache_by_user=by_header,
    )
    login = {"X-User": "1"}
    assert states(site.get(headers=login), site.get(headers=login)) == ["MISS", "HIT"]


def test_key_builder_and_template(site):
    def build(request, namespace):
        return f"{namespace}:{request.args.get('company')}"

    site.view("/a", key_builder=build)
    cached = site.view("/b/<int:user>", key="{user}:profile", vary_query_params=())
    assert states(
        site.get("/a?company=1&x=1"), site.get("/a?company=1&x=2"), site.get("/a?company=2")
    ) == ["MISS", "HIT", "MISS"]
    assert site.client.namespace(site.space).contains(f"{site.space}:1")
    site.get("/b/7")
    assert site.client.namespace(site.space).get("7:profile").value[:15] == b"\x93larder-http1\n["
    assert cached.key(user=7) == ("7:profile", {})


def test_a_key_builder_splits_by_user_too(site):
    site.view(key_builder=lambda request, namespace: "k", cache_by_user=by_header)
    one, two = site.get(headers={"X-User": "1"}), site.get(headers={"X-User": "2"})
    assert states(one, two) == ["MISS", "MISS"]


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"ttl": None}, 600),
        ({"ttl": "2m"}, 120),
        ({"ttl": None, "timeout": 70}, 70),
        ({"ttl": None, "expire": 71}, 71),
        ({"ttl": lambda request: 72}, 72),
        ({"ttl": lambda request, response: 70 + response.status_code // 100}, 72),
        ({"ttl": None, "ttl_function": lambda request: 86400 if "h" in request.args else 5}, 86400),
    ],
)
def test_the_ttl_in_all_its_forms(site, options, seconds):
    site.view(**options)
    assert int(site.get("/?h=1").headers["X-Cache-TTL-Remaining"]) == seconds


def test_skip_cache_fn_forces_the_view(site):
    site.view(skip_cache_fn=lambda request: request.headers.get("X-Role") == "admin")
    admin = {"X-Role": "admin"}
    assert states(site.get(headers=admin), site.get(), site.get(headers=admin)) == [
        "BYPASS", "MISS", "BYPASS",
    ]  # fmt: skip


def test_cache_if_forced_update_and_enabled(site):
    on = True
    site.view("/a", cache_if=lambda response: b"never" in response.data)
    site.view("/b", forced_update=lambda request: "fresh" in request.args, vary_query_params=())
    site.view("/c", enabled=lambda: on)
    assert states(site.get("/a"), site.get("/a")) == ["MISS", "MISS"]
    assert states(site.get("/b"), site.get("/b?fresh=1")) == ["MISS", "MISS"]
    assert site.get("/b").json == {"n": 4}
    site.get("/c")
    on = False
    assert states(site.get("/c")) == ["BYPASS"]


def test_tags_invalidate_answers(site):
    site.view("/<int:user>", tags=["user:{user}"])
    site.get("/1"), site.get("/2")
    site.client.namespace(site.space).invalidate(tags=["user:1"])
    assert states(site.get("/1"), site.get("/2")) == ["MISS", "HIT"]


def test_no_cache_of_the_client_does_not_bypass_unless_asked(site):
    site.view("/a")
    site.view("/b", honour_no_cache=True)
    site.get("/a"), site.get("/b")
    asked = {"Cache-Control": "no-cache"}
    assert states(site.get("/a", headers=asked), site.get("/b", headers=asked)) == ["HIT", "MISS"]


def test_values_by_a_serializer(site):
    site.view(
        "/a", answer=lambda: {"a": 1}, serializer=json.dumps, deserializer=json.loads, key="a"
    )
    site.view("/b", answer=lambda: flask.Response("whole"), codec="json")
    assert site.get("/a").json == site.get("/a").json == {"a": 1}
    assert site.client.namespace(site.space).get("a").value == '{"a": 1}'
    assert states(site.get("/b"), site.get("/b")) == ["MISS", "HIT"]
    assert site.get("/b").data == b"whole"


def test_asynchronous_views(site):
    pytest.importorskip("asgiref")
    calls = []

    @site.app.get("/")
    @cached_endpoint(site.space, client=site.client, ttl=60)
    async def view():
        calls.append(1)
        return "async"

    assert states(site.get(), site.get()) == ["MISS", "HIT"] and calls == [1]


def test_a_login_decorator_above_runs_for_each_request(site):
    import functools

    seen = []

    def login_required(view):
        @functools.wraps(view)
        def wrapper(*args, **kwargs):
            seen.append(1)
            return view(*args, **kwargs)

        return wrapper

    @site.app.get("/<search_type>")
    @login_required
    @cached_endpoint(site.space, client=site.client, ttl=3600)
    def get_areas(search_type):
        return flask.jsonify([search_type])

    assert states(site.get("/buy"), site.get("/buy")) == ["MISS", "HIT"]
    assert seen == [1, 1]


def test_an_argument_that_cannot_be_a_key_is_named(site):
    @site.app.get("/")
    @cached_endpoint(site.space, client=site.client, name="view")
    def view(db=object()):  # noqa: B008
        return "x"

    @site.app.get("/ignored")
    @cached_endpoint(site.space, client=site.client, ignore=["db"])
    def ignored(db=object()):  # noqa: B008
        return "x"

    with pytest.raises(UncacheableArgument, match="the argument db of view"):
        site.get()
    assert states(site.get("/ignored"), site.get("/ignored")) == ["MISS", "HIT"]


def test_helpers_of_a_view(site):
    cached = site.view("/<int:user>", key="u:{user}")
    site.get("/1"), site.get("/1?q=2"), site.get("/2")
    assert cached.get(user=1).found and cached.of(query=[("q", "2")]).get(user=1).found
    assert cached.key(user=1) == ("u:1", {})
    assert cached.of(query=[("q", "2")]).key(user=1).params == {"query:q": '["2"]'}
    assert cached.invalidate(user=1).deleted
    assert states(site.get("/1"), site.get("/1?q=2")) == ["MISS", "HIT"]
    cached.invalidate_variants(user=1)
    assert states(site.get("/1"), site.get("/1?q=2"), site.get("/2")) == ["MISS", "MISS", "HIT"]
    cached.invalidate_all()
    assert states(site.get("/2")) == ["MISS"]
    cached.set(StoredResponse(200, [("X-Set", "1")], b"set"), user=3)
    assert site.get("/3").data == b"set" and site.get("/3").headers["X-Set"] == "1"
    with site.app.test_request_context("/3"):
        fresh = cached.refresh(user=3)
        assert fresh.json["n"] == len(site.calls) and cached.bypass(user=3)["n"] == len(site.calls)
    assert site.get("/3").json == fresh.json
    assert cached.original(user=4) == {"n": len(site.calls)}


def test_helpers_know_the_user(site):
    cached = site.view(cache_by_user=by_header, name="v")
    site.get(headers={"X-User": "1"})
    assert cached.of(user="1").get().found and not cached.of(user="2").get().found
    with pytest.raises(ValueError, match="the key of v needs a user"):
        cached.get()
    with pytest.raises(ValueError, match="v has no template key"):
        cached.invalidate_variants()


def test_concurrent_requests_run_the_view_once(site):
    inside, release = threading.Event(), threading.Event()

    def answer():
        inside.set()
        release.wait(10)
        return "x"

    site.view(answer=answer)
    found = []
    threads = [threading.Thread(target=lambda: found.append(site.get())) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    release.set()
    for thread in threads:
        thread.join(20)
    assert len(site.calls) == 1 and {response.data for response in found} == {b"x"}
    assert set(states(*found)) <= {"MISS", "HIT"}


def test_no_request_gets_the_cookie_of_another(site):
    inside, release = threading.Event(), threading.Event()

    def answer():
        inside.set()
        release.wait(10)
        response = flask.Response("x")
        response.set_cookie("sid", str(len(site.calls)))
        return response

    site.view(answer=answer)
    found = []
    threads = [threading.Thread(target=lambda: found.append(site.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    release.set()
    for thread in threads:
        thread.join(20)
    assert len(site.calls) == 4 and all("Set-Cookie" in response.headers for response in found)


def test_a_stale_answer_is_refreshed_with_the_request_at_hand(site):
    site.space = "swr"
    seen = []

    def answer():
        seen.append(flask.request.headers["X-Who"])
        return str(len(site.calls))

    site.view(ttl=0.05, answer=answer, name="stale-view")
    assert site.get(headers={"X-Who": "a"}).data == b"1"
    deadline = time.monotonic() + 10
    while True:
        answer = site.get(headers={"X-Who": "b"})
        if answer.headers["X-Cache"] == "STALE":
            break
        assert time.monotonic() < deadline
    assert answer.data == b"1" and answer.headers["X-Cache-TTL-Remaining"] == "0"
    while site.get(headers={"X-Who": "c"}).data == b"1":
        assert time.monotonic() < deadline
    assert seen[:2] == ["a", "b"]


def test_a_cache_that_is_away_is_no_outage_of_the_site(space):
    with Client("127.0.0.1:1", call_timeout=0.2, connect_timeout=0.2) as away:
        site = Site(away, space)
        site.view()
        one, two = site.get(), site.get()
        assert states(one, two) == ["MISS", "MISS"] and one.status_code == 200
        assert "ETag" not in one.headers and "Cache-Control" not in one.headers


def test_options_are_checked():
    def view():
        return "x"

    for options, error in [
        ({"tll": 5}, "cached_endpoint has no option 'tll'"),
        ({"methods": "GET"}, "methods must be a sequence"),
        ({"vary_headers": "Accept"}, "vary_headers must be a sequence"),
        ({"vary_query_params": [1]}, "vary_query_params has 1"),
        ({"statuses": (304,)}, "statuses has 304"),
        ({"cache_anonymous": True}, "cache_anonymous needs cache_by_user"),
        ({"key": "{x}"}, "names 'x'"),
        ({"key": "k", "key_builder": str}, "key and key_builder exclude"),
        ({"ttl": 1, "timeout": 2}, "ttl and timeout are two names"),
        ({"serializer": json.dumps}, "deserializer is missing"),
    ]:
        with pytest.raises((TypeError, ValueError)) as caught:
            cached_endpoint("n", **options)(view)
        assert error in str(caught.value)
    with pytest.raises(TypeError, match="needs a namespace"):
        cached_endpoint(view)
    with pytest.raises(TypeError, match="is a generator"):
        cached_endpoint("n")(generator_view)


def generator_view():
    yield "x"
