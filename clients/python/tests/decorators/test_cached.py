"""`cached` and `cache_result` on blocking functions: each option, against the real server."""

import dataclasses
import datetime
import json
import pickle
import threading
import time

import pytest

from larder_cache import (
    FOREVER,
    Client,
    Hit,
    LarderError,
    Miss,
    NotStored,
    PickleCodec,
    Stored,
    Unavailable,
)
from larder_cache.decorators import cache_result, cached, compress, decompress


class Counted:
    """A function that counts its calls."""

    def __init__(self, answer=lambda *args: list(args)):
        self.calls = 0
        self.answer = answer

    def run(self, *args):
        self.calls += 1
        return self.answer(*args)


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


def test_exceptions_are_not_cached(client, space):
    outcomes = [ValueError("first"), "second"]

    @cached(client=client, namespace=space)
    def f():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="first"):
        f()
    assert f() == "second" == f()


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


def test_a_value_that_cannot_be_encoded_is_returned_and_not_stored(client, space):
    thing = object()

    @cached(client=client, namespace=space)
    def f():
        return thing

    assert f() is thing is f()


def test_what_is_on_a_decorated_function(client, space):
    counted = Counted(lambda *_: counted.calls)

    @cached(60, client=client, namespace=space, tags=["t"])
    def f(a, b=2):
        return counted.run(a, b)

    assert isinstance(f.get(1), Miss)
    assert f(1) == 1
    found = f.get(b=2, a=1)
    assert isinstance(found, Hit) and found.value == 1
    assert f.refresh(1) == 2 and f(1) == 2
    assert f.bypass(1) == 3 and f(1) == 2
    assert isinstance(f.set(9, 1), Stored) and f(1) == 9
    assert f.get(1).tags == ("t",) and 55 < f.get(1).ttl_remaining <= 60
    assert f.invalidate(1).deleted and not f.invalidate(1).existed
    assert f(1) == 4 and f(2) == 5
    f.invalidate_all()
    assert [f.get(1).found, f.get(2).found] == [False, False]


def test_invalidate_all_of_a_template_and_of_built_keys(client, space, counted):
    @cached(client=client, namespace=space, key="u[*]:{a}:x")
    def f(a):
        return counted.run(a)

    @cached(client=client, namespace=space, key_builder=lambda call: "k")
    def g():
        return 0

    other = client.namespace(space)
    other.set("u*:1:x", 1)
    f(1), f(2)
    f.invalidate_all()
    assert not f.get(1).found and not f.get(2).found and other.get("u*:1:x").found
    with pytest.raises(ValueError, match="are built: invalidate them by their tags"):
        g.invalidate_all()


def test_threads_compute_once(client, space):
    began = threading.Barrier(8)
    release = threading.Event()
    counted = Counted()

    @cached(client=client, namespace=space)
    def f(a):
        release.wait(10)
        return counted.run(a)

    results = []

    def call():
        began.wait(10)
        results.append(f(1))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(20)
    assert results == [[1]] * 8
    assert counted.calls == 1


def test_two_processes_compute_once_by_the_lease(server, client, space):
    with Client(server.target) as other:
        counted = Counted()
        inside, release = threading.Event(), threading.Event()

        def make(of):
            def f(a):
                inside.set()
                release.wait(10)
                return counted.run(a)

            return cached(client=of, namespace=space, name="f")(f)

        results = []
        first = threading.Thread(target=lambda: results.append(make(client)(1)))
        first.start()
        assert inside.wait(10)
        second = threading.Thread(target=lambda: results.append(make(other)(1)))
        second.start()
        release.set()
        first.join(20), second.join(20)
        assert results == [[1], [1]]
        assert counted.calls == 1


def test_a_stale_value_is_answered_and_refreshed(client):
    counted = Counted(lambda *_: counted.calls)

    @cached(ttl=0.05, client=client, namespace="swr", name="stale")
    def f():
        return counted.run()

    @cached(client=client, namespace="swr", name="stale", max_stale=0)
    def fresh():
        return counted.run()

    assert f() == 1
    deadline = time.monotonic() + 10
    while f.get().outcome != "STALE":
        assert time.monotonic() < deadline
    assert f() == 1
    while f.get().value == 1:
        assert time.monotonic() < deadline
    assert counted.calls == 2
    while f.get().outcome != "STALE":
        assert time.monotonic() < deadline
    assert fresh() == 3


def test_a_cache_that_is_away_fails_open_or_raises(space):
    with Client("127.0.0.1:1", call_timeout=0.2, connect_timeout=0.2) as away:
        counted = Counted()

        @cached(client=away, namespace=space)
        def f(a):
            return counted.run(a)

        @cached(client=away, namespace=space, on_error="raise")
        def g(a):
            return counted.run(a)

        assert f(1) == [1]
        assert isinstance(f.set([2], 1), NotStored)
        with pytest.raises(LarderError):
            f.invalidate(1)
        with pytest.raises(Unavailable):
            g(1)
        assert counted.calls == 1


def test_fetch_timeout_bounds_the_wait_for_others(server, client, space):
    with Client(server.target) as other:
        inside, release = threading.Event(), threading.Event()

        @cached(client=client, namespace=space, name="slow")
        def slow():
            inside.set()
            release.wait(10)
            return "slow"

        @cached(client=other, namespace=space, name="slow", fetch_timeout=0.05)
        def hasty():
            return "hasty"

        thread = threading.Thread(target=slow)
        thread.start()
        assert inside.wait(10)
        began = time.monotonic()
        assert hasty() == "hasty"
        assert time.monotonic() - began < 3
        release.set()
        thread.join(20)
        assert hasty() == "slow"


def test_the_client_can_come_from_a_function_or_a_handle(client, space, counted):
    @cached(client=lambda: client, namespace=space)
    def f(a):
        return counted.run(a)

    @cached(namespace=client.namespace(space))
    def g(a):
        return counted.run(a)

    assert f(1) == f(1) == [1]
    assert g(1) == g(1) == [1]
    assert counted.calls == 2
    with pytest.raises(TypeError, match="client is that of the handle"):
        cached(namespace=client.namespace(space), client=client)(nothing)


def test_a_near_cache_of_the_function(client, space, counted):
    @cached(client=client, namespace=space, near_cache=True)
    def f(a):
        return counted.run(a)

    deadline = time.monotonic() + 10
    while f.get(1).tier != "client":
        f(1)
        assert time.monotonic() < deadline
    assert f(1) == [1]
