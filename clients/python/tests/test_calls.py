"""All calls but get_or_fetch, with both clients, on the server and on the fake."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from setups import Setup

from larder_cache import (
    FOREVER,
    EncodeError,
    FailedPrecondition,
    Hit,
    InvalidArgument,
    Key,
    Miss,
    NotStored,
    PickleCodec,
    ResourceExhausted,
    Stale,
    Stored,
)

VALUES = ["", "text é", b"", b"\x00\xff", None, 0, False, 1.5, 2**70, [], [1, "a", None], {"a": {}}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_survive(ns: Any, value: Any) -> None:
    assert isinstance(ns.set("k", value), Stored)
    result = ns.get("k")
    assert isinstance(result, Hit) and result
    assert result.value == value and type(result.value) is type(value)


def test_facts_of_a_hit(ns: Any) -> None:
    stored = ns.set("k", 1, ttl="10m", tags=["b", "a", "b"])
    assert stored.ttl == 600
    result = ns.get("k")
    assert result.version == stored.version != ""
    assert result.tags == ("a", "b") and result.tier == "store"
    assert 590 < result.ttl_remaining <= 600 and 0 <= result.age < 5
    assert not result.degraded and result.error is None and result.outcome == "HIT"
    assert result.value_or(2) == 1 and result.unwrap() == 1


def test_a_miss_is_no_error(ns: Any) -> None:
    result = ns.get("k")
    assert isinstance(result, Miss) and not result and result.value is None
    assert result.value_or(7) == 7 and result.outcome == "MISS"
    with pytest.raises(KeyError):
        result.unwrap()


def test_params_make_other_entries(ns: Any) -> None:
    ns.set("k", 1, params={"a": "1", "b": "2"})
    assert ns.get("k", params={"b": "2", "a": "1"}).value == 1
    assert not ns.get("k") and not ns.get("k", params={"a": "1"})


def test_many_params_become_a_digest(ns: Any) -> None:
    many = {f"p{i}": "v" for i in range(65)}
    ns.set("k", 1, params=many)
    assert ns.get("k", params=dict(reversed(many.items()))).value == 1
    assert not ns.get("k", params={**many, "p1": "w"})


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(5, 5), ("1m30s", 90), (timedelta(hours=1), 3600), (0.0001, 0.001)]
)
def test_ttls(ns: Any, ttl: Any, seconds: float) -> None:
    assert ns.set("k", 1, ttl=ttl).ttl == seconds


def test_forever_is_the_longest_ttl(ns: Any) -> None:
    assert ns.set("k", 1, ttl=FOREVER).ttl == 7 * 86400


@pytest.mark.parametrize("ttl", [0, -1, timedelta(0), "0s"])
def test_a_ttl_that_has_passed_deletes(ns: Any, ttl: Any) -> None:
    ns.set("k", 1)
    assert ns.set("k", 2, ttl=ttl) == NotStored("EXPIRED")
    assert not ns.get("k")
    ns.set("a", 1)
    assert ns.set_many({"a": 2}, ttl=ttl) == {"a": NotStored("EXPIRED")}
    assert not ns.get("a")


def test_conditions(ns: Any) -> None:
    unmet = NotStored("CONDITION_NOT_MET")
    assert ns.set("k", 1, if_present=True) == unmet
    first = ns.set("k", 1, if_absent=True)
    assert first and ns.set("k", 2, if_absent=True) == unmet
    assert ns.set("k", 2, if_version="no") == unmet
    second = ns.set("k", 2, if_version=first.version)
    assert second and ns.get("k").value == 2
    with pytest.raises(InvalidArgument, match="exclude"):
        ns.set("k", 1, if_absent=True, if_present=True)
    assert ns.delete("k", if_version=first.version) == (True, False, None, False)
    assert ns.delete("k", if_version=second.version).deleted


def test_delete(ns: Any) -> None:
    assert not ns.delete("k").existed
    ns.set("k", {"a": 1}, tags=["t"])
    deleted = ns.delete("k", return_value=True)
    assert deleted and deleted.removed.value == {"a": 1} and deleted.removed.tags == ("t",)
    assert not ns.get("k")


def test_batches(ns: Any) -> None:
    assert ns.get_many([]) == {} and ns.set_many({}) == {} and ns.delete_many([]) == {}
    keys = [f"k{i}" for i in range(2_500)]
    assert all(ns.set_many({key: key for key in keys}, tags=["t"]).values())
    results = ns.get_many([*keys, "missing", "k0"])
    assert list(results) == [*keys, "missing"]
    assert [results[key].value for key in keys] == keys and not results["missing"]
    deleted = ns.delete_many([*keys[:1_001], "missing"])
    assert sum(map(bool, deleted.values())) == 1_001
    assert ns.count_keys() == 1_499


def test_batches_with_params(ns: Any) -> None:
    one, two = Key("k", {"lang": "en"}), Key("k", lang="de")
    ns.set_many({one: 1, two: 2})
    results = ns.get_many([one, two, "k"])
    assert results[one].value == 1 and results[two].value == 2 and not results["k"]
    assert ns.get("k", params={"lang": "de"}).value == 2
    assert ns.delete_many([one])[one] and not ns.get("k", params={"lang": "en"})


def test_large_batches_are_split(ns: Any) -> None:
    values = {f"k{i}": "x" * 900_000 for i in range(8)}
    assert all(ns.set_many(values).values())
    assert all(ns.get_many(values).values())


def test_contains_and_touch(ns: Any) -> None:
    assert not ns.contains("k") and not ns.touch("k", 10)
    ns.set("k", 1, ttl=5)
    assert ns.contains("k") and ns.touch("k", "1h").ttl == 3600
    assert ns.get("k").ttl_remaining > 3000
    assert ns.get("k", touch="2h").ttl_remaining > 7000
    for over in (0, -1):
        with pytest.raises(InvalidArgument, match="ttl must be positive"):
            ns.touch("k", over)
    assert ns.contains("k")


def test_increment(ns: Any) -> None:
    assert ns.increment("n", if_present=True) == (None, "", 0.0)
    assert ns.increment("n", 5, initial=10, ttl=60).value == 15
    summed = ns.increment("n", -20)
    assert summed.value == -5 and 0 < summed.ttl_remaining <= 60
    assert ns.get("n").value == "-5"
    ns.set("text", "x")
    with pytest.raises(FailedPrecondition) as caught:
        ns.increment("text")
    assert caught.value.reason == "NOT_AN_INTEGER"
    with pytest.raises(TypeError, match="delta"):
        ns.increment("n", 1.5)
    ns.increment("big", 2**63 - 1)
    with pytest.raises(FailedPrecondition) as caught:
        ns.increment("big")
    assert caught.value.reason == "OVERFLOW"


def test_patch(ns: Any) -> None:
    assert ns.patch("k", {"a": 1}).result == "MISSING"
    stored = ns.set("k", {"a": 1, "b": [1]}, ttl=100, tags=["t"])
    assert ns.patch("k", {"c": 1}, if_version="no").result == "CONDITION_NOT_MET"
    assert ns.patch("k", {"a": None, "c": {"d": 1}}, if_version=stored.version, keep_ttl=True)
    result = ns.get("k")
    assert result.value == {"b": [1], "c": {"d": 1}}
    assert result.tags == ("t",) and result.ttl_remaining <= 100
    operations = [{"op": "add", "path": "/b/-", "value": 2}, {"op": "remove", "path": "/c"}]
    assert ns.patch("k", json_patch=operations, ttl=50).ttl == 50
    assert ns.get("k").value == {"b": [1, 2]}
    with pytest.raises(FailedPrecondition) as caught:
        ns.patch("k", json_patch=[{"op": "remove", "path": "/x"}])
    assert caught.value.reason == "PATCH_NOT_APPLICABLE"
    with pytest.raises(InvalidArgument, match="exactly one"):
        ns.patch("k")


def test_invalidate(ns: Any) -> None:
    ns.set("a:1", 1, tags=["x"])
    ns.set("a:2", 2)
    ns.set("b", 3)
    ns.set("c", 4, params={"p": "1"})
    ns.set("d", 5)
    ns.invalidate(tags=["x"])
    assert not ns.get("a:1") and ns.get("a:2")
    ns.invalidate(globs=["a:*"], keys=[Key("c", p="1"), "b"])
    assert not any(ns.get_many(["a:2", "b", Key("c", p="1")]).values()) and ns.get("d")
    ns.invalidate_namespace()
    assert not ns.get("d")
    with pytest.raises(TypeError, match="tags"):
        ns.invalidate(tags="x")


def test_events(setup: Setup) -> None:
    client = setup.client(on_error="raise")
    users = client.namespace("users")
    users.set_many({"1": 1}, tags=["user:1"])
    users.set("2", 2, tags=["user:2"])
    client.publish_event("user_changed", {"id": "1"})
    assert not users.get("1") and users.get("2")
    users.publish_event("nothing", {"id": "2"})
    assert users.get("2")


def test_lists(ns: Any) -> None:
    ns.set_many({f"a{i}": i for i in range(250)})
    ns.set("b", 1)
    assert {each.key for each in ns.list_keys("a*", page_size=40)} == {f"a{i}" for i in range(250)}
    assert ns.count_keys() == 251 and ns.count_keys("b") == 1
    assert len(list(ns.list_keys())) == 251


def test_stats(ns: Any, setup: Setup) -> None:
    ns.set("k", 1)
    ns.get("k")
    assert ns.stats().namespace == ns.name
    assert setup.client().stats([ns.name]).store.kind == "memory"


def test_hold_off_refuses_fills(ns: Any) -> None:
    ns.delete("k", hold_off="1m")
    result = ns.get_or_fetch("k", lambda: 1)
    assert result.value == 1 and result.stored.reason == "INVALIDATED"
    assert ns.set("k", 2) and ns.get("k").value == 2


def test_bad_arguments_name_the_argument(ns: Any, setup: Setup) -> None:
    client = setup.client()
    for bad, error, words in [
        (lambda: ns.get(""), InvalidArgument, "key must not be empty"),
        (lambda: ns.get(5), TypeError, "key must be a str"),
        (lambda: ns.get("k", params={"a": 1}), TypeError, "params"),
        (lambda: ns.get("k", max_stale=-1), InvalidArgument, "max_stale"),
        (lambda: ns.set("k", 1, ttl="soon"), InvalidArgument, "ttl"),
        (lambda: ns.set("k", 1, ttl=True), TypeError, "ttl"),
        (lambda: ns.set("k", 1, tags="abc"), TypeError, "tags"),
        (lambda: ns.get_many("abc"), TypeError, "keys"),
        (lambda: ns.get_or_fetch("k", 5), TypeError, "loader"),
        (lambda: client.namespace(""), InvalidArgument, "namespace"),
        (lambda: client.namespace("a", codec="no"), ValueError, "no"),
        (lambda: client.namespace("a", codec="pickle"), ValueError, "secret"),
        (lambda: client.namespace("a", on_error="no"), ValueError, "on_error"),
        (lambda: client.publish_event("", {}), InvalidArgument, "name"),
    ]:
        with pytest.raises(error, match=words):
            bad()


def test_a_value_that_is_too_large_is_a_mistake(setup: Setup) -> None:
    small = setup.client().namespace("small")
    with pytest.raises(ResourceExhausted) as caught:
        small.set("k", "x" * 2_000)
    assert caught.value.reason == "VALUE_TOO_LARGE"
    filled = small.get_or_fetch("k", lambda: "x" * 2_000)
    assert filled.value == "x" * 2_000 and filled.stored.reason == "NOT_STORED"


@dataclasses.dataclass
class User:
    name: str
    age: int = 0


def test_types_and_codecs(ns: Any, setup: Setup) -> None:
    client = setup.client(on_error="raise")
    typed = client.namespace(ns.name, type=User)
    typed.set("k", User("Ann", 3))
    assert typed.get("k").value == User("Ann", 3)
    assert ns.get("k").value == {"name": "Ann", "age": 3}
    assert ns.get("k", type=User).value == User("Ann", 3)
    ns.set("k", {"age": "old"})
    undecodable = typed.get("k")
    assert not undecodable and "name" in str(undecodable.error)
    assert client.counters(ns.name)["undecodable"] == 1
    assert typed.get_or_fetch("k", lambda: User("Bob")).value == User("Bob")
    assert typed.get("k").value == User("Bob")
    pickled = client.namespace(ns.name, codec=PickleCodec(b"0123456789abcdef"))
    pickled.set("p", {1: {2}})
    assert pickled.get("p").value == {1: {2}}
    assert not pickled.get("k")
    other = client.namespace(ns.name, codec=PickleCodec(b"another secret key"))
    assert "signature" in str(other.get("p").error)
    with pytest.raises(EncodeError, match=r"\$\.a\[0\]"):
        ns.set("k", {"a": [float("nan")]})


def test_max_stale(setup: Setup) -> None:
    stale = setup.client(on_error="raise").namespace("stale")
    stale.set("k", 1, ttl=0.001)
    while isinstance(stale.get("k"), Hit):
        pass
    assert isinstance(stale.get("k"), Stale) and stale.get("k").value == 1
    assert not stale.get("k", max_stale=0) and not stale.contains("k")


def test_schema_versions_share_nothing(setup: Setup) -> None:
    one = setup.client(schema_version="v1").namespace("schema")
    two = setup.client(schema_version="v2").namespace("schema")
    one.set("k", 1)
    assert one.get("k").value == 1 and not two.get("k")
    two.invalidate_namespace()
    assert not one.get("k")


def test_names_and_prefixes(setup: Setup) -> None:
    client = setup.client(namespace_prefix="app-")
    assert client.namespace("users").name == "app-users"
    assert client.namespace("Users").name.startswith("x--app-users-")
    assert client.namespace("users", ttl=5) is not client.namespace("users")
    spaced = client.namespace("Users")
    spaced.set("k" * 2_000, 1)
    assert spaced.get("k" * 2_000).value == 1 and not spaced.get("k" * 1_999)


def test_tags_of_the_handle(setup: Setup, ns: Any) -> None:
    tagged = setup.client(on_error="raise").namespace(ns.name, tags=["all"], ttl=60)
    assert tagged.set("k", 1, tags=["one"]).ttl == 60
    assert tagged.get("k").tags == ("all", "one")
    tagged.get_or_fetch("f", lambda: 1)
    assert tagged.get("f").tags == ("all",)
    tagged.invalidate(tags=["all"])
    assert not tagged.get("k") and not tagged.get("f")


def test_negative(on_fake: Setup) -> None:
    ns = on_fake.client().namespace("neg")
    on_fake.fake.put_negative("neg", "k")  # type: ignore[union-attr]
    result = ns.get("k")
    assert result.outcome == "NEGATIVE" and not result and result.ttl_remaining > 0
    assert ns.get_or_fetch("k", lambda: 1).outcome == "NEGATIVE"
