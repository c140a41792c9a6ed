"""The options of cached views of Flask, against the real server."""

import json
import time

import flask
import http_server
import pytest
from flask_site import Site, by_header, states

from larder_cache import Client, LarderError
from larder_cache.http.flask import cached_endpoint

server, client, space = http_server.server, http_server.client, http_server.space


@pytest.fixture
def site(client, space):
    return Site(client, space)


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


def test_authorization_is_not_answered_from_the_cache(site):
    site.view("/a")
    site.view("/b", cache_authorized=True)
    login = {"Authorization": "Bearer x"}
    site.get("/a"), site.get("/b")
    assert states(site.get("/a", headers=login), site.get("/b", headers=login)) == ["BYPASS", "HIT"]
    assert states(site.get("/a")) == ["HIT"]


def test_one_entry_per_user(site):
    site.view(cache_by_user=by_header)
    one = site.get(headers={"X-User": "1", "Authorization": "x"})
    two = site.get(headers={"X-User": "2"})
    assert states(one, two, site.get(headers={"X-User": "1"})) == ["MISS", "MISS", "HIT"]
    assert one.headers["Cache-Control"] == "private, no-cache"
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


def test_the_user_of_flask_login(site):
    flask_login = pytest.importorskip("flask_login")
    manager = flask_login.LoginManager(site.app)

    @manager.request_loader
    def load(request):
        name = request.headers.get("X-User")
        if name is None:
            return None
        user = flask_login.UserMixin()
        user.id = name
        return user

    site.view(cache_by_user=True)
    answers = [site.get(headers={"X-User": name}) for name in "121"]
    assert states(*answers) == ["MISS", "MISS", "HIT"]
    assert states(site.get()) == ["BYPASS"]


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


def test_names_and_prefixes(site):
    site.view("/a", name="n", debug=True)
    site.view("/b", key_prefix="p", debug=True)
    assert site.get("/a").headers["X-Cache-Key"] == "n"
    assert site.get("/b").headers["X-Cache-Key"] == "p"


def test_errors_of_the_cache_are_raised_if_so_asked(space):
    with Client("127.0.0.1:1", call_timeout=0.2, connect_timeout=0.2) as away:
        site = Site(away, space)
        site.view(on_error="raise")
        with pytest.raises(LarderError):
            site.get()


def test_a_near_cache_of_a_view(site):
    site.view(near_cache=True)
    deadline = time.monotonic() + 10
    before = site.client.counters(site.space)["near_hits"]
    while site.client.counters(site.space)["near_hits"] == before:
        assert site.get().status_code == 200 and time.monotonic() < deadline
    assert len(site.calls) == 1


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
    with pytest.raises(TypeError, match="namespace must be the name of one"):
        cached_endpoint(view)
    with pytest.raises(TypeError, match="is a generator"):
        cached_endpoint("n")(generator_view)


def generator_view():
    yield "x"
