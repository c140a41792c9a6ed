"""The options of `cached` and `cache_result` on blocking functions, against the real server."""

import dataclasses
import datetime
import json
import pickle

import decorators_server
import pytest
from counting import Counted

from larder_cache import (
    FOREVER,
    LarderError,
    PickleCodec,
)
from larder_cache.decorators import cache_result, cached, compress, decompress

server, client, space = decorators_server.server, decorators_server.client, decorators_server.space


def nothing():
    return 0


@pytest.fixture
def counted():
    return Counted()


def ttl_of(function, *args):
    return function.get(*args).ttl_remaining


def test_a_value_is_computed_once(client, space, counted):
    @cached(client=client, namespace=space)
    def f(a, b=2):
        """Documented."""
        return counted.run(a, b)

    assert [f(1), f(1, 2), f(b=2, a=1)] == [[1, 2]] * 3
    assert counted.calls == 1
    assert (f.__name__, f.__doc__) == ("f", "Documented.")
    assert f.original(1) == [1, 2] and counted.calls == 2


@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", b"", [], {}])
def test_values_that_are_false_are_cached(client, space, value):
    counted = Counted(lambda: value)

    @cached(client=client, namespace=space)
    def f():
        return counted.run()

    assert [f(), f()] == [value, value]
    assert type(f()) is type(value) or value == 0.0
    assert counted.calls == 1


def test_none_is_not_cached_if_so_asked(client, space):
    counted = Counted(lambda: None)

    @cached(client=client, namespace=space, cache_none=False)
    def f():
        return counted.run()

    assert [f(), f()] == [None, None]
    assert counted.calls == 2


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 3600),
        ({"ttl": 60}, 60),
        ({"ttl": "5m"}, 300),
        ({"ttl": datetime.timedelta(seconds=90)}, 90),
        ({"ttl": 0.5}, 0.5),
        ({"ttl": None}, 600),
        ({"ttl": FOREVER}, 7 * 86400),
        ({"timeout": 61}, 61),
        ({"expire": 62}, 62),
        ({"ttl_function": lambda call: 63 + call.a}, 64),
        ({"ttl": lambda args: 64 + args["a"]}, 65),
        ({"ttl": lambda args, result: 65 + result[0]}, 66),
        ({"ttl": lambda a: "1m"}, 60),
        ({"ttl": lambda: 67}, 67),
    ],
)
def test_the_ttl_in_all_its_forms(client, space, counted, options, seconds):
    @cached(client=client, namespace=space, **options)
    def f(a):
        return counted.run(a)

    f(1)
    assert seconds - 5 < ttl_of(f, 1) <= seconds


def test_a_ttl_that_has_passed_stores_nothing(client, space, counted):
    @cached(ttl=lambda call, result: 0, client=client, namespace=space)
    def f(a):
        return counted.run(a)

    assert [f(1), f(1)] == [[1], [1]]
    assert counted.calls == 2


def test_wrong_ttls_are_refused():
    def f():
        return 0

    with pytest.raises(TypeError, match="ttl and timeout are two names"):
        cached(ttl=1, timeout=2)(f)
    with pytest.raises(TypeError, match="ttl_function must be a function"):
        cached(ttl_function=3)(f)
    with pytest.raises(LarderError, match="ttl must be such as"):
        cached(ttl="soon")(f)
    with pytest.raises(TypeError, match="ttl requires 3 arguments; it gets at most 2"):
        cached(ttl=lambda x, y, z: 1)(f)
    with pytest.raises(TypeError, match="ttl requires the parameter 'w'"):
        cached(ttl=lambda *, w: 1)(f)


def test_cache_result_has_the_names_and_defaults_of_old(client, space, counted):
    @cache_result(client=client, namespace=space)
    def f(a):
        return counted.run(a)

    @cache_result(timeout=60, key_prefix="areas:", client=client, namespace=space)
    def get_areas(a):
        return counted.run(a)

    @cache_result(client=client, namespace=space, ttl=61)
    def g(a):
        return counted.run(a)

    f(1), get_areas(1), g(1)
    assert 295 < ttl_of(f, 1) <= 300
    assert 55 < ttl_of(get_areas, 1) <= 60
    assert 60 < ttl_of(g, 1) <= 61
    assert get_areas.key(1).key == "areas:get_areas"


def test_skip_cache_fn_neither_reads_nor_writes(client, space, counted):
    @cached(client=client, namespace=space, skip_cache_fn=lambda call: call["role"] == "admin")
    def f(role):
        return counted.run(role)

    for _ in range(2):
        f("admin"), f("user")
    assert counted.calls == 3
    assert not f.get("admin").found


def test_cache_if_decides_by_the_result(client, space, counted):
    @cached(client=client, namespace=space, cache_if=lambda result: result[0] > 1)
    def f(a):
        return counted.run(a)

    @cached(client=client, namespace=space, cache_if=lambda result, args, kwargs: args == (2,))
    def g(a):
        return counted.run(a)

    for _ in range(2):
        f(1), f(2), g(1), g(2)
    assert counted.calls == 6
    assert [f.get(1).found, f.get(2).found] == [False, True]
    assert [g.get(1).found, g.get(2).found] == [False, True]


def test_forced_update_and_refresh_compute_anew_and_store(client, space):
    counted = Counted(lambda *_: counted.calls)
    force = False

    @cached(client=client, namespace=space, forced_update=lambda: force)
    def f(a):
        return counted.run(a)

    @cached(client=client, namespace=space, refresh=lambda a: a == "new")
    def g(a):
        return counted.run(a)

    assert [f(1), f(1)] == [1, 1]
    force = True
    assert f(1) == 2
    force = False
    assert f(1) == 2
    assert [g("new"), g("new"), g("old"), g("old")] == [3, 4, 5, 5]
    with pytest.raises(TypeError, match="forced_update and refresh are two names"):
        cached(forced_update=True, refresh=True)(nothing)


def test_enabled_switches_the_cache_off(client, space, counted):
    on = False

    @cached(client=client, namespace=space, enabled=lambda: on)
    def f(a):
        return counted.run(a)

    @cached(client=client, namespace=space, enabled=False)
    def g(a):
        return counted.run(a)

    f(1), f(1), g(1), g(1)
    assert counted.calls == 4
    on = True
    f(1), f(1)
    assert counted.calls == 5
    with pytest.raises(TypeError, match="enabled must be True, False or a function"):
        cached(enabled="yes")(nothing)


def test_tags_are_static_templates_or_computed(client, space, counted):
    @cached(client=client, namespace=space, tags=["all", "user:{a}"])
    def f(a):
        return counted.run(a)

    @cached(client=client, namespace=space, tags=lambda call, result: [f"r{result[0]}"])
    def g(a):
        return counted.run(a)

    f(1), f(2), g(1)
    assert f.get(1).tags == ("all", "user:1")
    assert g.get(1).tags == ("r1",)
    client.namespace(space).invalidate(tags=["user:1"])
    assert [f.get(1).found, f.get(2).found] == [False, True]
    with pytest.raises(ValueError, match="tags: 'x:{b}' names 'b'"):
        cached(tags=["x:{b}"], name="f")(lambda a: a)
    with pytest.raises(TypeError, match="tags must be a sequence"):
        cached(tags="all", name="f")(lambda a: a)


def test_one_entry_per_user(client, space, counted):
    class User:
        def __init__(self, id):
            self.id = id

    @cached(client=client, namespace=space, cache_by_user=True, ignore=("current_user",))
    def f(a, current_user=None):
        return counted.run(a, current_user and current_user.id)

    @cached(client=client, namespace=space, cache_by_user="u.id", ignore=("u",), name="g")
    def g(u):
        return counted.run(u.id)

    @cached(
        client=client,
        namespace=space,
        cache_by_user=lambda call: call.token["sub"],
        cache_anonymous=True,
        ignore=("token",),
        name="h",
    )
    def h(token):
        return counted.run(token["sub"])

    assert f.key(1, User(7)).params == {"a": "1", "@user": "7"}
    assert [f(1, User(7)), f(1, User(8)), f(1, User(7))] == [[1, 7], [1, 8], [1, 7]]
    assert counted.calls == 2
    f(1), f(1)
    assert counted.calls == 4
    with pytest.raises(ValueError, match="has no user"):
        f.key(1)
    assert g.key(User(5)).params == {"@user": "5"}
    assert h.key({"sub": None}).params == {"@user": "anonymous"}
    assert h.key({"sub": "anonymous"}).params == {"@user": '"anonymous"'}


def test_cache_by_user_is_checked():
    with pytest.raises(ValueError, match="has none of the arguments current_user"):
        cached(cache_by_user=True, name="f")(lambda a: a)
    with pytest.raises(ValueError, match="cache_by_user names 'session'"):
        cached(cache_by_user="session.id", name="f")(lambda a: a)
    with pytest.raises(ValueError, match="cache_anonymous needs cache_by_user"):
        cached(cache_anonymous=True, name="f")(lambda a: a)


def test_serializer_and_deserializer(client, space, counted):
    @cached(client=client, namespace=space, serializer=json.dumps, deserializer=json.loads)
    def f(a):
        return {"a": a}

    @cached(client=client, namespace=space, serializer=compress, deserializer=decompress)
    def g(a):
        return {"a": "x" * 10_000}

    @cached(client=client, namespace=space, serializer=pickle.dumps, deserializer=pickle.loads)
    def h(a):
        return {(1, 2): {a}}

    assert f(1) == f(1) == {"a": 1}
    assert client.namespace(space).get(f.key(1).key, params=f.key(1).params).value == '{"a": 1}'
    assert g(1) == g(1) == {"a": "x" * 10_000}
    stored = client.namespace(space).get(g.key(1).key, params=g.key(1).params).value
    assert isinstance(stored, str) and len(stored) < 200
    assert h(1) == h(1) == {(1, 2): {1}}
    with pytest.raises(TypeError, match="deserializer is missing"):
        cached(serializer=json.dumps)(nothing)
    with pytest.raises(TypeError, match="exclude codec and type"):
        cached(serializer=json.dumps, deserializer=json.loads, codec="json")(nothing)


def test_a_codec_and_pickle_only_with_a_secret(client, space):
    @cached(client=client, namespace=space, codec=PickleCodec(b"0123456789abcdef"))
    def f():
        return {(1, 2): 3}

    assert f() == f() == {(1, 2): 3}
    with pytest.raises(ValueError, match="needs a secret"):
        cached(codec="pickle")(nothing)


@dataclasses.dataclass
class Point:
    x: int
    at: datetime.date


def test_values_are_decoded_by_the_return_annotation(client, space, counted):
    @cached(client=client, namespace=space)
    def f(x: int) -> "list[Point]":
        return counted.run(Point(x, datetime.date(2026, 1, x)))

    @cached(client=client, namespace=space, type=Point)
    def g(x):
        return Point(x, datetime.date(2026, 1, x))

    assert f(1) == f(1) == [Point(1, datetime.date(2026, 1, 1))]
    assert counted.calls == 1
    assert g(2) == g(2) == Point(2, datetime.date(2026, 1, 2))


def test_a_value_that_cannot_be_decoded_is_computed_again(client, space, counted):
    @cached(client=client, namespace=space)
    def f(x: int) -> Point:
        return Point(*counted.run(x), at=datetime.date(2026, 1, 1))

    f(1)
    raw = client.namespace(space)
    raw.set(f.key(1).key, {"y": 1}, params=f.key(1).params)
    assert f(1).x == 1 and counted.calls == 2
    assert f(1).x == 1 and counted.calls == 2
    assert client.counters(space)["undecodable"] >= 1


def test_a_value_that_cannot_be_encoded_is_returned_and_not_stored(client, space, caplog):
    thing = object()

    @cached(client=client, namespace=space, name="f")
    def f():
        return thing

    assert f() is thing is f()
    assert caplog.text.count("a value of f cannot be stored: INVALID_ARGUMENT: $: ") == 1
