"""``cache_result`` of the replaced Flask application, against the real server."""

import functools

import compat_server
import flask
import pytest

from larder_cache.compat.flask_cache_result import cache_result

server, client = compat_server.server, compat_server.client


@pytest.fixture
def enabled(client, monkeypatch):
    monkeypatch.setenv("REDIS_ENABLED", "true")
    return client


class Site:
    def __init__(self):
        self.app = flask.Flask("site")
        self.app.secret_key = "only for tests"
        self.app.testing = True
        self.calls = []
        site = self

        def login_required(view):
            @functools.wraps(view)
            def wrapper(*args, **kwargs):
                flask.session.get("user")
                return view(*args, **kwargs)

            return wrapper

        @self.app.route("/api/areas/<search_type>")
        @login_required
        @cache_result(timeout=3600, key_prefix="areas:")
        def get_areas(search_type):
            site.calls.append(search_type)
            return flask.jsonify([search_type, helper(search_type)])

        @self.app.route("/api/property/valuation", methods=["POST"])
        @login_required
        @cache_result(timeout=300, key_prefix="valuation:")
        def get_property_valuation():
            site.calls.append("valuation")
            return {"value": flask.request.get_json()["size"] * 2}

        @cache_result(key_prefix="helper:")
        def helper(kind):
            site.calls.append("helper")
            return {"kind": kind}

        self.helper = helper
        self.browser = self.app.test_client()


def test_views_are_answered_from_the_cache(enabled):
    site = Site()
    one, two = (site.browser.get("/api/areas/buy") for _ in range(2))
    assert (one.headers["X-Cache"], two.headers["X-Cache"]) == ("MISS", "HIT")
    assert one.json == two.json == ["buy", {"kind": "buy"}]
    assert one.headers["X-Cache-TTL-Remaining"] == "3600"
    assert site.calls == ["buy", "helper"]
    assert enabled.namespace("areas").count_keys("areas:get_areas") == 1
    assert site.browser.get("/api/areas/rent").headers["X-Cache"] == "MISS"


def test_the_body_of_a_post_is_part_of_the_key(enabled):
    site = Site()
    sizes = [1, 2, 1]
    answers = [site.browser.post("/api/property/valuation", json={"size": s}) for s in sizes]
    assert [a.json["value"] for a in answers] == [2, 4, 2]
    assert [a.headers["X-Cache"] for a in answers] == ["MISS", "MISS", "HIT"]
    assert answers[0].headers["X-Cache-TTL-Remaining"] == "300"


def test_functions_are_cached_outside_of_requests(enabled, caplog):
    site = Site()
    assert site.helper("x") == site.helper(kind="x") == {"kind": "x"} and site.calls == ["helper"]
    assert site.helper.function.key("x").key == "helper:helper"

    class WithEnviron:
        environ = {}

    @cache_result()
    def plain(request, a):
        site.calls.append(a)
        return a

    assert plain(WithEnviron(), 1) == plain(WithEnviron(), 1) == 1 and site.calls.count(1) == 1
    assert plain(object(), 2) == plain(object(), 2) == 2 and site.calls.count(2) == 2
    assert caplog.text.count("the argument request of") == 1


def test_it_is_off_unless_switched_on(client):
    site = Site()
    answers = [site.browser.get("/api/areas/off") for _ in range(2)]
    assert [a.headers["X-Cache"] for a in answers] == ["BYPASS", "BYPASS"]
    assert site.calls == ["off", "helper"] * 2


def test_falsy_values_are_values(enabled):
    calls = []

    @cache_result(key_prefix="empty:")
    def empty(value):
        calls.append(value)
        return value

    for value in ("", 0, None, []):
        assert empty(value) == empty(value) == value
    assert len(calls) == 4
