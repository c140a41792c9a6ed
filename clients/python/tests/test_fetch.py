"""get_or_fetch: leases, with both clients, on the server and on the fake."""

from __future__ import annotations

import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from setups import Setup, until

from larder_cache import Hit, Loaded, Miss, Stale, Stored


class Loader:
    """A loader that counts its calls and can be held."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value
        self.calls = 0
        self.began = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        with self._lock:
            self.calls += 1
        self.began.set()
        assert self.go.wait(20)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def together(count: int, call: Any) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return [f.result(30) for f in [pool.submit(call) for _ in range(count)]]


def test_a_miss_is_computed_and_stored(ns: Any) -> None:
    load = Loader({"a": None})
    first = ns.get_or_fetch("k", load, ttl="5m", tags=["t"])
    assert isinstance(first, Hit) and first.value == {"a": None} and first.tier == "loader"
    assert isinstance(first.stored, Stored) and first.stored.ttl == 300 and first.tags == ("t",)
    assert first.version == first.stored.version and first.ttl_remaining == 300
    again = ns.get_or_fetch("k", load)
    assert again.value == {"a": None} and again.tier == "store" and again.tags == ("t",)
    assert again.version == first.version and load.calls == 1


def test_null_is_a_value(ns: Any) -> None:
    load = Loader(None)
    assert ns.get_or_fetch("k", load) and ns.get_or_fetch("k", load).value is None
    assert load.calls == 1


def test_one_computation_in_the_process(ns: Any) -> None:
    load = Loader()
    load.go.clear()
    threading.Timer(0.8, load.go.set).start()
    results = together(10, lambda: ns.get_or_fetch("k", load))
    assert [each.value for each in results] == [1] * 10 and load.calls == 1
    assert sum(each.joined for each in results) == 9


def test_one_computation_in_the_fleet(setup: Setup) -> None:
    load = Loader()
    load.go.clear()
    threading.Timer(0.8, load.go.set).start()
    clients = [setup.client(preset="local").namespace("fleet") for _ in range(4)]
    clients[0].invalidate_namespace()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(each.get_or_fetch, "k", load) for each in clients]
        assert [each.result(30).value for each in futures] == [1] * 4
    assert load.calls == 1


def test_the_loader_decides(ns: Any) -> None:
    loaded = ns.get_or_fetch("k", lambda: Loaded(1, ttl=7, tags=["x"]))
    assert loaded.value == 1 and loaded.stored.ttl == 7 and ns.get("k").tags == ("x",)
    not_kept = ns.get_or_fetch("n", lambda: Loaded(2, store=False))
    assert not_kept.value == 2 and not not_kept.stored and not_kept.tier == "loader"
    # No back-off: the next caller computes at once.
    assert ns.get_or_fetch("n", lambda: 3).stored
    assert ns.get_or_fetch("z", lambda: Loaded(1, ttl=0)).stored.reason == "EXPIRED"
    assert not ns.get("z")


def test_errors_of_the_loader(ns: Any) -> None:
    load = Loader(ValueError("no"))
    load.go.clear()
    threading.Timer(0.8, load.go.set).start()

    def call() -> Any:
        with pytest.raises(ValueError, match="no") as caught:
            ns.get_or_fetch("k", load)
        return caught.value

    errors = together(5, call)
    assert load.calls == 1 and all(each is load.value for each in errors)
    # Others get no lease for the back-off, and compute by themselves when their time is over.
    after = ns.get_or_fetch("k", lambda: 5, timeout=0.05)
    assert after.value == 5 and not after.stored
    assert after.error is not None and "ValueError" in str(after.error)
    assert not ns.get("k")


def test_a_value_that_cannot_be_encoded_is_still_the_callers(ns: Any) -> None:
    value = object()
    result = ns.get_or_fetch("k", lambda: value)
    assert result.value is value and result.stored.reason == "NOT_ENCODABLE"
    assert ns.get_or_fetch("k", lambda: 1).stored


def test_a_long_computation_keeps_its_lease(setup: Setup) -> None:
    short = setup.client(on_error="raise").namespace("short")
    short.invalidate_namespace()

    def load() -> int:
        time.sleep(1.4)
        return 1

    assert short.get_or_fetch("k", load).stored


def test_a_lost_lease_refuses_the_fill(ns: Any) -> None:
    for change, reason in [
        (lambda: ns.set("k", 5), "SUPERSEDED"),
        (lambda: ns.delete("k"), "INVALIDATED"),
        (ns.invalidate_namespace, "INVALIDATED"),
        (lambda: ns.invalidate(tags=["t"]), "INVALIDATED"),
    ]:
        ns.delete("k")

        def load(change: Any = change) -> int:
            change()
            return 1

        result = ns.get_or_fetch("k", load, tags=["t"])
        assert result.value == 1 and result.stored.reason == reason
        assert ns.get("k").value == (5 if reason == "SUPERSEDED" else None)


def test_own_writes_end_the_joining(ns: Any) -> None:
    load = Loader("old")
    load.go.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ns.get_or_fetch, "k", load)
        assert load.began.wait(10)
        ns.set("k", "new")
        assert ns.get_or_fetch("k", load).value == "new"
        load.go.set()
        assert running.result(10).value == "old"
    assert ns.get("k").value == "new"


def test_refresh(ns: Any) -> None:
    ns.set("k", 1)
    assert ns.get_or_fetch("k", lambda: 2, refresh=True).value == 2
    assert ns.get("k").value == 2


def test_without_a_loader(ns: Any) -> None:
    assert isinstance(ns.get_or_fetch("k"), Miss)
    # The lease was passed on.
    assert ns.get_or_fetch("k", lambda: 1).stored
    assert ns.get_or_fetch("k").value == 1


def make_stale(ns: Any, key: str, value: Any) -> None:
    ns.set(key, value, ttl=0.001)
    until(lambda: not isinstance(ns.get(key), Hit))


def test_stale_is_answered_at_once(setup: Setup) -> None:
    stale = setup.client(on_error="raise").namespace("stale")
    make_stale(stale, "bg", "old")
    load = Loader("new")
    load.go.clear()
    result = stale.get_or_fetch("bg", load)
    assert isinstance(result, Stale) and result.value == "old"
    assert load.began.wait(10)
    assert stale.get_or_fetch("bg", load).value == "old"
    load.go.set()
    until(lambda: stale.get("bg").value == "new")
    assert load.calls == 1


def test_the_context_goes_to_the_background(setup: Setup) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    stale = setup.client().namespace("stale")
    make_stale(stale, "context", "old")
    variable.set("set")
    stale.get_or_fetch("context", variable.get)
    until(lambda: stale.get("context").value == "set")


def test_too_much_background_work_is_done_before_the_answer(setup: Setup) -> None:
    stale = setup.client(background_limit=1).namespace("stale")
    make_stale(stale, "one", "old")
    make_stale(stale, "two", "old")
    load = Loader("new")
    load.go.clear()
    assert stale.get_or_fetch("one", load).value == "old"
    second = stale.get_or_fetch("two", lambda: "newer")
    assert second.value == "newer" and second.stored
    load.go.set()


def test_stale_if_the_loader_fails(setup: Setup) -> None:
    stale = setup.client().namespace("error")
    key = f"fails-{setup.kind}"
    make_stale(stale, key, "old")
    result = stale.get_or_fetch(key, Loader(ValueError("no")))
    assert isinstance(result, Stale) and result.value == "old"
    assert isinstance(result.error, ValueError)


def test_contended_callers_compute_within_their_time(setup: Setup) -> None:
    client = setup.client()
    ns = client.namespace("contended")
    ns.invalidate_namespace()
    load = Loader("late")
    load.go.clear()
    other = setup.client().namespace("contended")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(other.get_or_fetch, "k", load)
        assert load.began.wait(10)
        start = time.monotonic()
        result = ns.get_or_fetch("k", lambda: "own", timeout=0.3)
        assert result.value == "own" and not result.stored and result.tier == "loader"
        assert time.monotonic() - start < 2
        assert isinstance(ns.get_or_fetch("k", timeout=0.05), Miss)
        load.go.set()
        assert running.result(10).stored
    assert ns.get("k").value == "late"


def test_a_timeout_ends_the_joining(ns: Any) -> None:
    load = Loader("late")
    load.go.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ns.get_or_fetch, "k", load)
        assert load.began.wait(10)
        assert ns.get_or_fetch("k", lambda: "own", timeout=0.2).value == "own"
        load.go.set()
        assert running.result(10).stored


def test_many(ns: Any) -> None:
    ns.set("a", "A")
    asked: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, Any]:
        asked.append(keys)
        return {key: Loaded(key * 2, ttl=9, tags=["t"]) for key in keys if key != "none"}

    results = ns.get_or_fetch_many(["a", "b", "c", "none", "b"], load)
    assert list(results) == ["a", "b", "c", "none"] and asked == [["b", "c", "none"]]
    assert results["a"].value == "A" and results["b"].value == "bb" and results["c"].stored.ttl == 9
    assert isinstance(results["none"], Miss) and ns.get("b").tags == ("t",)
    assert ns.get_or_fetch_many(["b", "c"], load)["c"].tier == "store" and len(asked) == 1
    # The lease of the key without a value was passed on.
    assert ns.get_or_fetch("none", lambda: 1).stored
    assert ns.get_or_fetch_many([], load) == {}


def test_many_fail_together(ns: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        ns.get_or_fetch_many(["a", "b"], lambda keys: 1 // 0)
    results = ns.get_or_fetch_many(["a", "b"], lambda keys: dict.fromkeys(keys, 1), timeout=0.05)
    assert results["a"].value == 1 and not results["a"].stored
    with pytest.raises(TypeError, match="mapping"):
        ns.get_or_fetch_many(["c"], lambda keys: [1])


def test_many_with_leases_that_are_kept(setup: Setup) -> None:
    short = setup.client(on_error="raise").namespace("short")
    short.invalidate_namespace()

    def load(keys: list[str]) -> dict[str, int]:
        time.sleep(1.4)
        return dict.fromkeys(keys, 1)

    results = short.get_or_fetch_many(["a", "b"], load)
    assert all(each.stored for each in results.values())


def test_many_stale(setup: Setup) -> None:
    stale = setup.client(on_error="raise").namespace("stale")
    make_stale(stale, "m1", "old")
    stale.delete("m2")
    results = stale.get_or_fetch_many(["m1", "m2"], lambda keys: dict.fromkeys(keys, "new"))
    assert results["m1"].value == "old" and results["m2"].value == "new"
    until(lambda: stale.get("m1").value == "new")


def test_more_than_a_batch(ns: Any) -> None:
    keys = [str(number) for number in range(1_500)]
    results = ns.get_or_fetch_many(keys, lambda missing: dict.fromkeys(missing, 1))
    assert len(results) == 1_500 and all(each.stored for each in results.values())


def test_a_recursive_loader_is_refused(ns: Any, setup: Setup) -> None:
    if setup.kind == "threads":
        with pytest.raises(RuntimeError, match="asks for the value"):
            ns.get_or_fetch("k", lambda: ns.get_or_fetch("k", lambda: 1).value)


def test_an_interrupted_leader_hands_over(on_server: Setup) -> None:
    """A thread that is interrupted passes the lease on, and the others go on."""
    if on_server.kind == "asyncio":
        pytest.skip("tasks are cancelled below")
    ns = on_server.client(preset="local").namespace("released")
    ns.invalidate_namespace()
    began, go = threading.Event(), threading.Event()

    def interrupted() -> Any:
        began.set()
        go.wait(10)
        raise KeyboardInterrupt

    def lead() -> str:
        try:
            ns.get_or_fetch("k", interrupted)
        except KeyboardInterrupt:
            return "interrupted"
        return "no"

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(lead)
        assert began.wait(10)
        follower = pool.submit(ns.get_or_fetch, "k", lambda: 2)
        time.sleep(0.1)
        start = time.monotonic()
        go.set()
        assert leader.result(10) == "interrupted"
        result = follower.result(10)
    assert result.value == 2 and result.stored and time.monotonic() - start < 0.9
