"""The backends for cachelib and Flask-Caching, and Flask-Session on top of cachelib."""

from __future__ import annotations

import json
import pickle
from datetime import timedelta

import flask
import flask_caching
import pytest
from cachelib.serializers import BaseSerializer, RedisSerializer, SimpleSerializer
from races import race

from larder_cache import Client, LarderError
from larder_cache.backends.cachelib import LarderCache

SECRET = "s" * 32


class JSONSerializer(BaseSerializer):
    """That of recent releases of cachelib: it returns None for what it cannot encode."""

    def dumps(self, value):
        try:
            return json.dumps(value).encode()
        except TypeError:
            return None

    def loads(self, bvalue):
        return json.loads(bvalue)


@pytest.fixture
def cache(target, namespace):
    return LarderCache(target, namespace=namespace, secret=SECRET, preset="local")


@pytest.fixture
def raw(target, namespace):
    """The same namespace without the backend."""
    with Client(target, preset="local") as client:
        yield client.namespace(namespace)


def test_one_of_eight_threads_adds(cache):
    assert sorted(race(lambda number: cache.add("key", number))) == [False] * 7 + [True]


def test_increments_are_not_lost(cache):
    race(lambda _: [cache.inc("key", 2) for _ in range(20)])
    assert cache.get("key") == 8 * 20 * 2


def test_only_integers_are_counted(cache):
    cache.set("key", "text")
    with pytest.raises(TypeError, match="'key' is not an integer"):
        cache.inc("key")


@pytest.mark.parametrize("timeout", [0, timedelta()])
def test_timeout_0_is_the_longest_of_the_server(cache, raw, timeout):
    cache.set("key", "value", timeout=timeout)
    assert raw.get("key").ttl_remaining == pytest.approx(7 * 86400, abs=5)


def test_a_negative_timeout_deletes(cache):
    cache.set("key", "value")
    assert cache.add("new", "value", timeout=-1) is False
    assert cache.set("key", "other", timeout=-1) is False
    assert cache.get_many("key", "new") == [None, None]


@pytest.mark.parametrize("timeout", ["60", True])
def test_a_bad_timeout_is_refused(cache, timeout):
    with pytest.raises(TypeError, match="timeout must be seconds or a timedelta"):
        cache.set("key", "value", timeout=timeout)


def test_clear_leaves_other_prefixes(target, namespace):
    def with_prefix(prefix):
        return LarderCache(target, key_prefix=prefix, namespace=namespace, secret=SECRET)

    starred, other = with_prefix("a*["), with_prefix(lambda: "ab[")
    starred.set("key", 1)
    other.set("key", 2)
    assert starred.clear() is True
    assert (starred.get("key"), other.get("key")) == (None, 2)
    with_prefix(None).clear()
    assert other.get("key") is None


def test_a_pickle_needs_a_secret(target, namespace):
    for serializer in (None, SimpleSerializer(), RedisSerializer()):
        with pytest.raises(ValueError, match="set secret"):
            LarderCache(target, namespace=namespace, serializer=serializer)
    cache = LarderCache(target, namespace=namespace, serializer=JSONSerializer())
    cache.set("key", {"a": [1, None]})
    assert cache.get("key") == {"a": [1, None]}
    with pytest.raises(ValueError, match="cannot encode the value of 'key'"):
        cache.set("key", b"bytes")
    assert cache.get("key") == {"a": [1, None]}
    with pytest.raises(ValueError, match="set secret"):
        cache.serializer = SimpleSerializer()


def test_a_value_that_is_too_large_leaves_no_old_one(cache):
    cache.set("key", "old")
    assert cache.set("key", "x" * 2 * 2**20) is False
    assert cache.get("key") is None
    assert cache.set_many({"a": 1, "b": "x" * 2 * 2**20}) == ["a"]


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("an unsigned value was unpickled",))


def test_an_unsigned_pickle_is_a_miss(cache, raw):
    raw.set("key", pickle.dumps(Bomb()))
    assert cache.get("key") is None
    assert cache.get_dict("key") == {"key": None}


def test_without_a_server(stopped, namespace):
    cache = LarderCache(stopped, namespace=namespace, secret=SECRET)
    assert cache.get("key") is None
    assert cache.get_many("a", "b") == [None, None]
    assert cache.has("key") is False
    assert cache.set("key", 1) is False
    assert cache.add("key", 1) is False
    assert cache.set_many({"a": 1}) == []
    invalidations = (
        lambda: cache.delete("key"),
        lambda: cache.delete_many("key"),
        cache.clear,
        lambda: cache.inc("key"),
    )
    for call in invalidations:
        with pytest.raises(LarderError):
            call()


# === Flask-Caching ===


def flask_app(target, namespace, **config):
    app = flask.Flask(__name__)
    app.config.update(
        CACHE_TYPE="larder_cache.backends.flask_caching.LarderCache",
        CACHE_LARDER_TARGET=target,
        CACHE_LARDER_NAMESPACE=namespace,
        **config,
    )
    return app, flask_caching.Cache(app)


def test_cached_views_and_memoized_functions(target, namespace):
    app, cache = flask_app(target, namespace, SECRET_KEY=SECRET)
    calls = []

    @app.get("/page")
    @cache.cached(timeout=60)
    def page():
        calls.append("page")
        return f"page {len(calls)}"

    @cache.memoize(60)
    def add(a, b):
        calls.append("add")
        return a + b

    browser = app.test_client()
    assert browser.get("/page").data == browser.get("/page").data == b"page 1"
    with app.app_context():
        assert [add(1, 2), add(1, 2), add(2, 2)] == [3, 3, 4]
        cache.delete_memoized(add, 1, 2)
        assert [add(1, 2), add(2, 2)] == [3, 4]
    assert calls == ["page", "add", "add", "add"]


def test_a_view_is_served_without_a_server(stopped, namespace):
    app, cache = flask_app(stopped, namespace, SECRET_KEY=SECRET)

    @app.get("/page")
    @cache.cached(timeout=60)
    def page():
        return "page"

    assert app.test_client().get("/page").data == b"page"


def test_the_client_has_options(stopped, namespace):
    app, cache = flask_app(
        stopped, namespace, SECRET_KEY=SECRET, CACHE_LARDER_CLIENT={"on_error": "raise"}
    )
    with app.app_context(), pytest.raises(LarderError):
        cache.get("key")


def test_pickle_needs_the_key_of_the_application(target, namespace):
    with pytest.raises(ValueError, match="set SECRET_KEY, CACHE_LARDER_SECRET or CACHE_SERIALIZER"):
        flask_app(target, namespace)
    app, cache = flask_app(target, namespace, CACHE_SERIALIZER=JSONSerializer)
    with app.app_context():
        cache.set("key", [1, "a"])
        assert cache.get("key") == [1, "a"]


# === Flask-Session ===


def test_flask_session(cache, raw):
    flask_session = pytest.importorskip("flask_session")
    app = flask.Flask(__name__)
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=cache, SESSION_PERMANENT=True)
    flask_session.Session(app)

    @app.get("/count")
    def count():
        flask.session["visits"] = flask.session.get("visits", 0) + 1
        return str(flask.session["visits"])

    @app.get("/leave")
    def leave():
        flask.session.clear()
        return "bye"

    browser, other = app.test_client(), app.test_client()
    assert [browser.get("/count").data for _ in range(3)] == [b"1", b"2", b"3"]
    assert other.get("/count").data == b"1"
    assert raw.count_keys() == 2
    browser.get("/leave")
    assert raw.count_keys() == 1
    assert browser.get("/count").data == b"1"
