"""The near cache and `watch`, with both clients, on the server and on the fake."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
from setups import CONFIG, Loop, Setup, until

from larder_cache import AsyncClient, Key, NearCache
from larder_cache._engine.feeds import HEARTBEAT
from larder_cache._engine.near_store import NearStore
from larder_cache.events import (
    KeysChanged,
    NamespaceInvalidated,
    PatternInvalidated,
    Ready,
    Reset,
    TagsInvalidated,
)
from larder_cache.testing import FakeLarder, LarderServer

number = iter(range(1_000_000))


class Pair:
    """A namespace with a near cache, and the same one without, of another client."""

    def __init__(self, setup: Setup, near: Any = True) -> None:
        self.name = f"near-{next(number)}"
        self.client = setup.client(on_error="raise", preset="local")
        self.near = self.client.namespace(self.name, near_cache=near)
        self.far = setup.client(on_error="raise", preset="local").namespace(self.name)

    def keep(self, key: str = "k", params: Any = None) -> Any:
        """Reads until the value comes from the near cache."""

        def read() -> Any:
            result = self.near.get(key, params=params)
            return result if result.tier == "client" else None

        return until(read)


@pytest.fixture
def pair(setup: Setup) -> Pair:
    return Pair(setup)


def test_values_are_kept(pair: Pair) -> None:
    pair.far.set("k", {"a": 1}, ttl=100, tags=["t"])
    kept = pair.keep()
    assert kept.value == {"a": 1} and kept.tags == ("t",) and 90 < kept.ttl_remaining <= 100
    assert kept.version == pair.far.get("k").version
    kept.value["a"] = 2
    assert pair.near.get("k").value == {"a": 1}
    assert pair.client.counters()["near_hits"] >= 2
    assert pair.near.get("k", consistent=True).tier == "store"
    assert pair.near.get_or_fetch("k", lambda: 1).tier == "client"
    assert pair.near.get_many(["k", "x"])["k"].tier == "client"


@pytest.mark.parametrize("change", ["set", "delete", "tags", "glob", "namespace", "batch"])
def test_changes_of_others_arrive(pair: Pair, change: str) -> None:
    pair.far.set("k", 1, tags=["t"])
    pair.keep()
    far = pair.far
    {
        "set": lambda: far.set("k", 2),
        "delete": lambda: far.delete("k"),
        "tags": lambda: far.invalidate(tags=["t"]),
        "glob": lambda: far.invalidate(globs=["[a-k]*"]),
        "namespace": far.invalidate_namespace,
        "batch": lambda: far.set_many({"k": 2}),
    }[change]()
    wanted = 2 if change in ("set", "batch") else None
    until(lambda: pair.near.get("k").value == wanted, 2)


def test_own_writes_are_seen_at_once(pair: Pair) -> None:
    pair.near.set("k", 0)
    pair.keep()
    for value in range(1, 30):
        pair.near.set("k", value)
        assert pair.near.get("k").value == value
    pair.near.delete("k")
    assert not pair.near.get("k")
    pair.near.set_many({"k": 1, "l": 2}, tags=["t"])
    pair.keep()
    pair.near.invalidate(tags=["t"])
    assert not pair.near.get("k")
    pair.near.get_or_fetch("k", lambda: 5)
    pair.keep()
    pair.near.get_or_fetch("k", lambda: 6, refresh=True)
    assert pair.near.get("k").value == 6


def test_params(pair: Pair) -> None:
    pair.far.set("k", 1, params={"a": "1"})
    pair.far.set("k", 2)
    assert pair.keep(params={"a": "1"}).value == 1 and pair.keep().value == 2
    pair.far.set("k", 3, params={"a": "1"})
    until(lambda: pair.near.get("k", params={"a": "1"}).value == 3, 2)
    assert pair.near.get_many([Key("k", a="1"), "k"])["k"].value == 2


def test_nothing_outlives_its_ttl(pair: Pair) -> None:
    pair.far.set("k", 1, ttl=0.4)
    until(lambda: pair.near.get("k").tier == "client" or not pair.near.get("k"))
    time.sleep(0.45)
    assert not pair.near.get("k")


def test_computed_values_are_kept(pair: Pair) -> None:
    load = lambda: "value"  # noqa: E731
    assert pair.near.get_or_fetch("k", load).tier == "loader"
    until(lambda: pair.near.get_or_fetch("k", load).tier == "client")
    pair.far.set("k", "new")
    until(lambda: pair.near.get_or_fetch("k", load).value == "new", 2)
    many = ["a", "b"]
    pair.near.get_or_fetch_many(many, lambda keys: dict.fromkeys(keys, 1))

    def kept() -> bool:
        results = pair.near.get_or_fetch_many(many, lambda keys: dict.fromkeys(keys, 2))
        assert list(results) == many
        return all(each.tier == "client" for each in results.values())

    until(kept)
    assert pair.near.get_or_fetch("k", lambda: 3, refresh=True).value == 3
    assert pair.near.get_or_fetch("k", load).value == 3


def test_bounds(setup: Setup) -> None:
    pair = Pair(setup, NearCache(max_entries=3))
    pair.far.set_many(dict.fromkeys("abcde", 1))
    for key in "abcde":
        pair.keep(key)
    assert sum(pair.near.get(key).tier == "client" for key in "edcba") == 3
    small = Pair(setup, NearCache(max_bytes=5_000))
    small.far.set_many({"a": "x" * 1_500, "b": "x" * 1_500, "c": "x" * 1_500, "big": "x" * 4_000})
    for key in "abc":
        small.keep(key)
    assert small.near.get("a").tier == "store" and small.near.get("big").tier == "store"
    assert small.near.get("big").tier == "store"
    with pytest.raises(ValueError, match="max_entries"):
        NearCache(max_entries=0)
    with pytest.raises(TypeError, match="near_cache"):
        setup.client().namespace("a", near_cache=5)


def test_only_what_is_read_after_ready_is_kept(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    pair = Pair(on_fake)
    pair.far.set("k", 1)
    pair.keep()
    fake.reset_watches(ready=False)
    until(lambda: pair.near.get("k").tier == "store")
    for _ in range(20):
        assert pair.near.get("k").tier == "store"
    fake.reset_watches()
    pair.keep()


def test_a_change_during_a_read_is_not_missed(on_fake: Setup) -> None:
    """The answer of a read that was overtaken by a write is returned, but not kept."""
    fake: Any = on_fake.fake
    pair = Pair(on_fake)
    pair.far.set("other", 1)
    pair.keep("other")
    pair.far.set("k", "old")
    fake.slow(0.3, methods=("Get",), times=1)
    reads: list[Any] = []
    reader = threading.Thread(target=lambda: reads.append(pair.near.get("k")))
    reader.start()
    until(lambda: any(m == "Get" and r.key == "k" for m, r, _ in fake.calls))
    pair.far.set("k", "new")
    reader.join()
    until(lambda: pair.near.get("k").value == "new")
    assert pair.near.get("k").value == "new"


def test_a_late_message_of_the_same_stream() -> None:
    """After a silence the kept values are gone, but the stream has missed nothing."""
    store = NearStore(NearCache())
    silent = Ready(False, 0.1, 0.1)
    store.apply(silent)
    assert store.mark() is not None
    until(lambda: store.mark() is None)
    store.apply(HEARTBEAT)
    assert store.mark() is not None
    # After a reset only a Ready is enough.
    until(lambda: store.mark() is None)
    store.apply(Reset("DISCONNECTED"))
    store.apply(HEARTBEAT)
    assert store.mark() is None
    store.apply(silent)
    assert store.mark() is not None


def test_without_a_feed_it_is_not_used(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    fake.fail("UNAVAILABLE", methods=("Watch",))
    pair = Pair(on_fake)
    pair.far.set("k", 1)
    for _ in range(20):
        assert pair.near.get("k").tier == "store"
    fake.heal()
    pair.keep()


def test_a_server_that_restarts(kind: str, loop: Loop) -> None:
    with LarderServer(CONFIG) as server:
        made = Setup(kind, server, loop)
        pair = Pair(made)
        pair.far.set("k", 1)
        pair.keep()
        server.kill()
        until(lambda: _tier_or_error(pair.near) != "client", 8)
        server.start()
        until(lambda: _stored(pair.far), 8)
        until(lambda: _tier_or_error(pair.near) == "client", 10)
        assert pair.near.get("k").value == 2
        made.close()


def _stored(ns: Any) -> bool:
    try:
        return bool(ns.set("k", 2))
    except Exception:
        return False


def _tier_or_error(ns: Any) -> str:
    try:
        return str(ns.get("k").tier)
    except Exception:
        return "error"


def test_near_caches_of_several_loops(server: LarderServer) -> None:
    import asyncio

    client = AsyncClient(server.target, preset="local")
    ns = client.namespace("near-loops", near_cache=True)

    async def work() -> None:
        await ns.set("k", 1)
        for _ in range(500):
            if (await ns.get("k")).tier == "client":
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nothing was kept")

    asyncio.run(work())
    asyncio.run(work())
    asyncio.run(client.close())


# watch


class Watching:
    """Reads the events of a namespace in a thread."""

    def __init__(self, ns: Any, keys: bool = False) -> None:
        self.events: list[Any] = []
        self._stop = threading.Event()
        self._iterator = ns.watch(keys=keys)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        until(lambda: any(isinstance(each, Ready) for each in self.events))

    def _run(self) -> None:
        for event in self._iterator:
            self.events.append(event)
            if event == "stop" or self._stop.is_set():
                break
        self._iterator.close()

    def wait_for(self, kind: type) -> Any:
        return until(lambda: next((e for e in self.events if isinstance(e, kind)), None))

    def stop(self, ns: Any) -> None:
        self._stop.set()
        ns.invalidate_namespace()
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_watch(ns: Any) -> None:
    watching = Watching(ns, keys=True)
    ready = watching.wait_for(Ready)
    assert ready.heartbeat > 0 and ready.max_delay > 0
    ns.set("k", 1, tags=["t"])
    changed = watching.wait_for(KeysChanged)
    assert changed.namespace == ns.name and changed.keys[0].key == "k"
    ns.invalidate(tags=["t"])
    assert watching.wait_for(TagsInvalidated).tags == ("t",)
    ns.invalidate(globs=["a*"])
    assert watching.wait_for(PatternInvalidated).glob == "a*"
    ns.invalidate_namespace()
    assert watching.wait_for(NamespaceInvalidated).namespace == ns.name
    watching.stop(ns)


def test_watch_after_a_reset(on_fake: Setup) -> None:
    fake: FakeLarder = on_fake.fake  # type: ignore[assignment]
    ns = on_fake.client().namespace("watched")
    watching = Watching(ns)
    fake.reset_watches("STORE_FLUSHED")
    assert watching.wait_for(Reset).reason == "STORE_FLUSHED"
    fake.fail("UNAVAILABLE")
    until(lambda: Reset("DISCONNECTED") in watching.events)
    fake.heal()
    seen = len(watching.events)
    until(lambda: any(isinstance(each, Ready) for each in watching.events[seen:]))
    watching.stop(ns)


def test_a_watch_that_is_a_mistake_raises(on_fake: Setup) -> None:
    from larder_cache import PermissionDenied

    on_fake.fake.fail("PERMISSION_DENIED", methods=("Watch",))  # type: ignore[union-attr]
    with pytest.raises(PermissionDenied):
        next(on_fake.client().namespace("a").watch())


def test_close_ends_the_iterators(setup: Setup) -> None:
    client = setup.client()
    watching = Watching(client.namespace("closed"))
    client.close()
    watching._thread.join(5)
    assert not watching._thread.is_alive()


def sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return count


def stable_sockets() -> int:
    first = sockets()
    time.sleep(0.2)
    return first if sockets() == first else 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_close_closes_the_connection(on_server: Setup) -> None:
    client = on_server.client()
    near = client.namespace("closed-near", near_cache=True)
    near.set("k", 1)
    until(lambda: near.get("k").tier == "client")
    # Those of other clients may be about to go, too: it takes two samples that are equal.
    during = until(stable_sockets)
    client.close()
    until(lambda: sockets() < during, 5)


def test_near_caches_have_a_bound(on_fake: Setup, caplog: pytest.LogCaptureFixture) -> None:
    from larder_cache._engine.near import MAX_NEARS

    client = on_fake.client()
    for number in range(MAX_NEARS + 2):
        client.namespace(f"near-{number}", near_cache=True)
    beyond = client.namespace(f"near-{MAX_NEARS}", near_cache=True)
    beyond.set("k", 1)
    assert [beyond.get("k").tier for _ in range(3)] == ["store"] * 3
    assert caplog.text.count("no near cache") == 1
