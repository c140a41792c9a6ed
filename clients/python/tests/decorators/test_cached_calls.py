"""Calls and helpers of cached blocking functions, against the real server."""

import threading
import time

import decorators_server
import pytest
from counting import Counted

from larder_cache import (
    Client,
    Hit,
    LarderError,
    Miss,
    NotStored,
    Stored,
    Unavailable,
)
from larder_cache.decorators import cached
from larder_cache.testing import FakeLarder

server, client, space = decorators_server.server, decorators_server.client, decorators_server.space


def nothing():
    return 0


@pytest.fixture
def counted():
    return Counted()


def ttl_of(function, *args):
    return function.get(*args).ttl_remaining


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


def test_the_fake_takes_the_place_of_the_server(space):
    with Client(FakeLarder()) as fake:
        counted = Counted()

        @cached(client=fake, namespace=space)
        def f(a):
            return counted.run(a)

        assert f(1) == f(1) == [1] and counted.calls == 1 and f.invalidate(1).deleted


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
    with pytest.raises(TypeError, match="the codec is that of the handle"):
        cached(namespace=client.namespace(space), codec="json")(nothing)
    with pytest.raises(TypeError, match="client is that of the handle"):
        cached(namespace=client.namespace(space), client=client)(nothing)


def test_a_near_cache_of_the_function(client, space, counted):
    @cached(client=client, namespace=space, near_cache=True)
    def f(a):
        return counted.run(a)

    deadline = time.monotonic() + 10
    while client.counters(space)["near_hits"] < 2:
        assert f(1) == [1] and time.monotonic() < deadline
    assert counted.calls == 1
