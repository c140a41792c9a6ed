"""Outages: fail open, the breaker, retries, deadlines, and the way back."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from setups import CONFIG, Loop, Setup, until

from larder_cache import (
    ClientClosed,
    DeadlineExceeded,
    InvalidArgument,
    LarderError,
    Loaded,
    Miss,
    NotStored,
    PermissionDenied,
    Unavailable,
)
from larder_cache._engine.breaker import THRESHOLD, Breaker
from larder_cache.testing import LarderServer

OUTAGES = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"]
OUTAGES += ["UNKNOWN", "CANCELLED"]
READS_AND_WRITES: dict[str, Callable[[Any], Any]] = {
    "get": lambda ns: ns.get("k"),
    "get_many": lambda ns: ns.get_many(["k"])["k"],
    "set": lambda ns: ns.set("k", 1),
    "set_expired": lambda ns: ns.set("k", 1, ttl=0),
    "set_many": lambda ns: ns.set_many({"k": 1})["k"],
    "touch": lambda ns: ns.touch("k", 5),
    "get_or_fetch": lambda ns: ns.get_or_fetch("k"),
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "delete": lambda ns: ns.delete("k"),
    "delete_many": lambda ns: ns.delete_many(["k"]),
    "invalidate": lambda ns: ns.invalidate(tags=["t"]),
    "invalidate_namespace": lambda ns: ns.invalidate_namespace(),
    "increment": lambda ns: ns.increment("k"),
    "patch": lambda ns: ns.patch("k", {}),
    "publish_event": lambda ns: ns.publish_event("e"),
    "list_keys": lambda ns: list(ns.list_keys()),
    "count_keys": lambda ns: ns.count_keys(),
    "stats": lambda ns: ns.stats(),
}


@pytest.mark.parametrize("code", OUTAGES)
def test_what_goes_on_without_the_cache(on_fake: Setup, code: str) -> None:
    client = on_fake.client()
    ns, raising = client.namespace("a"), client.namespace("a", on_error="raise")
    on_fake.fake.fail(code)
    for name, call in READS_AND_WRITES.items():
        result = call(ns)
        assert not result and result.degraded, name
        assert result.error.code == code or result.error.reason == "BREAKER_OPEN", name
        with pytest.raises(LarderError):
            call(raising)
    assert isinstance(ns.get("k"), Miss) and not ns.contains("k")
    assert ns.set("k", 1)[:2] == NotStored("UNAVAILABLE", True)[:2]
    loaded = ns.get_or_fetch("k", lambda: 5)
    assert loaded.value == 5 and loaded.degraded and loaded.stored.reason == "UNAVAILABLE"
    many = ns.get_or_fetch_many(["a", "b"], lambda keys: dict.fromkeys(keys, 1))
    assert many["a"].value == 1 and many["a"].degraded
    for name, call in CHANGES.items():
        with pytest.raises(LarderError) as caught:
            call(ns)
        assert caught.value.code == code, name
    assert client.counters()["fail_open"] >= len(READS_AND_WRITES)


def test_mistakes_raise(on_fake: Setup) -> None:
    ns = on_fake.client().namespace("a")
    on_fake.fake.fail("PERMISSION_DENIED", reason="FORBIDDEN")
    for call in [*READS_AND_WRITES.values(), *CHANGES.values()]:
        with pytest.raises(PermissionDenied) as caught:
            call(ns)
        assert caught.value.reason == "FORBIDDEN"


def test_a_failed_fill_does_not_change_the_value(on_fake: Setup) -> None:
    ns = on_fake.client(on_error="raise").namespace("a")
    on_fake.fake.fail("UNAVAILABLE", methods=("Set",))
    result = ns.get_or_fetch("k", lambda: 5)
    assert result.value == 5 and result.stored.reason == "UNAVAILABLE"


def test_failed_fills_of_many_do_not_change_the_values(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    ns = on_fake.client(on_error="raise").namespace("a")
    fake.fail("DEADLINE_EXCEEDED", methods=("BatchSet", "Set"))
    keys = [f"k{number}" for number in range(50)]
    results = ns.get_or_fetch_many(keys, lambda missing: dict.fromkeys(missing, 5))
    assert [result.value for result in results.values()] == [5] * 50
    assert {result.stored.reason for result in results.values()} == {"UNAVAILABLE"}
    # One wait for a server that is away, not one per key.
    assert (fake.count("BatchSet"), fake.count("Set")) == (1, 0)


@pytest.mark.parametrize("outcome", ["error", "left out", "not stored"])
def test_leases_of_many_are_not_abandoned_one_by_one_at_an_outage(
    on_fake: Setup, outcome: str
) -> None:
    fake: Any = on_fake.fake
    ns = on_fake.client().namespace("a")
    fake.fail("DEADLINE_EXCEEDED", methods=("Abandon",))

    def loader(missing: list[str]) -> dict[str, Any]:
        if outcome == "error":
            raise RuntimeError("no database")
        return dict.fromkeys(missing if outcome == "not stored" else [], Loaded(1, store=False))

    keys = [f"k{number}" for number in range(50)]
    if outcome == "error":
        with pytest.raises(RuntimeError, match="no database"):
            ns.get_or_fetch_many(keys, loader)
    else:
        assert len(ns.get_or_fetch_many(keys, loader)) == 50
    assert fake.count("Abandon") == 5


def test_retries(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    client = on_fake.client(on_error="raise")
    ns = client.namespace("a")
    fake.fail("UNAVAILABLE", times=2)
    assert isinstance(ns.get("k"), Miss)
    assert fake.count("Get") == 3 and client.counters("a")["retries"] == 2
    for method, call in [
        ("Increment", lambda: ns.increment("n")),
        ("Patch", lambda: ns.patch("n", {})),
        ("Set", lambda: ns.set("k", 1, if_absent=True)),
        ("Delete", lambda: ns.delete("k", return_value=True)),
    ]:
        fake.heal()
        fake.fail("UNAVAILABLE", times=1)
        before = fake.count(method)
        with pytest.raises(Unavailable):
            call()
        assert fake.count(method) == before + 1, method
        ns.get("k")
    fake.heal()
    fake.fail("DEADLINE_EXCEEDED", times=1)
    before = fake.count("Get")
    with pytest.raises(DeadlineExceeded):
        ns.get("k")
    assert fake.count("Get") == before + 1


def test_retries_have_a_budget(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    ns = on_fake.client().namespace("a")
    for _ in range(20):
        fake.fail("UNAVAILABLE", times=3)
        ns.get("k")
        fake.heal()
        ns.get("k")
    # 10 tokens, of which half are spent: without a budget there were 20 * 3 failures.
    failed_attempts = fake.count("Get") - 20
    assert failed_attempts < 35


def test_the_breaker(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    ns = on_fake.client().namespace("a")
    fake.fail("DEADLINE_EXCEEDED")
    for _ in range(5):
        assert ns.get("k").error.code == "DEADLINE_EXCEEDED"
    sent = fake.count("Get")
    assert ns.get("k").error.reason == "BREAKER_OPEN" and fake.count("Get") == sent
    assert ns.get_or_fetch("k", lambda: 1).value == 1 and fake.count("GetOrFetch") == 0
    with pytest.raises(DeadlineExceeded):
        ns.delete("k")
    fake.heal()
    until(lambda: not ns.get("k").degraded, 2)
    assert ns.get("k").error is None


def test_a_probe_that_fails_keeps_it_open(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    ns = on_fake.client().namespace("a")
    fake.fail("DEADLINE_EXCEEDED")
    until(lambda: ns.get("k").error.reason == "BREAKER_OPEN")
    sent = fake.count("Get")
    until(lambda: ns.get("k") is not None and fake.count("Get") == sent + 1, 2)
    assert ns.get("k").error.reason == "BREAKER_OPEN" and fake.count("Get") == sent + 1


def test_an_outage_is_logged_once(on_fake: Setup, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "larder_cache")
    ns = on_fake.client().namespace("a")
    on_fake.fake.fail("UNAVAILABLE")
    for _ in range(20):
        ns.get("k")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    on_fake.fake.heal()
    until(lambda: not ns.get("k").degraded, 2)
    ns.get("k")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_calls_that_are_always_made_do_not_keep_the_breaker_open(on_fake: Setup) -> None:
    ns = on_fake.client().namespace("a")
    ns.set("k", 1)
    on_fake.fake.fail("UNAVAILABLE", methods=("Delete",))

    def read_after_a_delete() -> bool:
        with pytest.raises(Unavailable):
            ns.delete("k")
        return ns.get("k").value == 1

    for _ in range(5):
        with pytest.raises(Unavailable):
            ns.delete("k")
    assert ns.get("k").error.reason == "BREAKER_OPEN"
    until(read_after_a_delete, 5)


def test_a_probe_that_has_not_ended_does_not_hold_up_the_next() -> None:
    breaker = Breaker("server")
    for _ in range(THRESHOLD):
        breaker.failed(Unavailable("away"), probe=False)

    def enters() -> bool:
        try:
            return breaker.enter()
        except Unavailable:
            return False

    until(enters, 5)
    until(enters, 5)
    breaker.leave()
    assert enters()


def test_deadlines(on_fake: Setup) -> None:
    on_fake.fake.slow(5)
    ns = on_fake.client(call_timeout="100ms").namespace("a")
    start = time.monotonic()
    assert ns.get("k").error.code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - start < 1


def test_presets() -> None:
    from larder_cache import Client

    for preset, call, margin, keepalive in [
        ("service", 0.5, 1, 30),
        ("local", 5, 5, None),
        ("low_latency", 0.1, 0.25, 30),
        ("lambda", 1, 1, None),
    ]:
        options = Client(preset=preset).options  # type: ignore[arg-type]
        assert (options.call_timeout, options.fetch_margin) == (call, margin)
        assert options.keepalive_time == keepalive
    assert Client(preset="local", call_timeout="70ms").options.call_timeout == 0.07
    for bad, words in [
        ({"preset": "fast"}, "preset"),
        ({"call_timeout": 0}, "call_timeout"),
        ({"target": "nowhere"}, "target"),
        ({"target": "http://a:1"}, "target"),
        ({"on_error": "ignore"}, "on_error"),
        ({"schema_version": "a b"}, "schema_version"),
        ({"cert_file": "x"}, "cert_file"),
    ]:
        with pytest.raises(ValueError, match=words):
            Client(**bad)  # type: ignore[arg-type]


def test_an_answer_of_the_server_ends_an_outage(on_fake: Setup) -> None:
    ns = on_fake.client().namespace("a")
    on_fake.fake.fail("UNAVAILABLE", times=3)
    ns.get("k")
    on_fake.fake.fail("INVALID_ARGUMENT", times=1)
    with pytest.raises(InvalidArgument):
        ns.get("k")
    assert not ns.get("k").degraded


# The real server.


@pytest.fixture
def own(kind: str, loop: Loop) -> Any:
    with LarderServer(CONFIG) as server:
        made = Setup(kind, server, loop)
        yield made
        made.close()


def test_the_server_stops_and_comes_back(own: Setup) -> None:
    ns = own.client().namespace("a")
    assert ns.set("k", 1)
    own.backend.stop()
    start = time.monotonic()
    for _ in range(20):
        assert ns.get("k").degraded
    assert time.monotonic() - start < 2
    with pytest.raises(Unavailable):
        ns.delete("k")
    time.sleep(1.5)
    own.backend.start()
    start = time.monotonic()
    # By itself, gRPC would wait for half a minute after a long outage.
    until(lambda: not ns.get("k").degraded, 10)
    assert time.monotonic() - start < 7


def test_a_server_that_does_not_answer(own: Setup) -> None:
    ns = own.client(call_timeout=0.2).namespace("a")
    ns.set("k", 1)
    own.backend.pause()
    assert ns.get("k").error.code == "DEADLINE_EXCEEDED"
    until(lambda: ns.get("k").error.reason == "BREAKER_OPEN")
    start = time.monotonic()
    for _ in range(50):
        ns.get("k")
    # Each would take its deadline: 10 s in all.
    assert time.monotonic() - start < 1
    own.backend.resume()
    until(lambda: ns.get("k").value == 1, 5)


def test_several_addresses(own: Setup) -> None:
    with LarderServer(CONFIG) as second:
        both = f"{own.backend.target},{second.target}"
        client = own.client(target=both, preset="local")
        ns = client.namespace("a")
        singles = [
            own.client(target=target).namespace("a")
            for target in (own.backend.target, second.target)
        ]
        numbers = itertools.count()

        def both_have_entries() -> bool:
            ns.set(f"k{next(numbers)}", 1)
            return all(single.count_keys() > 0 for single in singles)

        # Both are connected to when both have an entry.
        until(both_have_entries)
        assert sum(single.count_keys() for single in singles) == next(numbers)
        own.backend.kill()
        until(lambda: all(not ns.get("k1").degraded for _ in range(10)), 5)


def test_close(on_server: Setup) -> None:
    client = on_server.client()
    ns = client.namespace("a")
    assert ns.set("k", 1)
    client.close()
    client.close()
    for call in [*READS_AND_WRITES.values(), *CHANGES.values()]:
        with pytest.raises(ClientClosed):
            call(ns)
    with pytest.raises(ClientClosed):
        next(ns.watch())


def test_connect(on_server: Setup) -> None:
    on_server.client().connect()
    with pytest.raises(Unavailable, match="cannot be reached"):
        on_server.client(target="127.0.0.1:1").connect(0.2)
