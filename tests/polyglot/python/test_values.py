"""Single entries: Get, Set, Delete, Invalidate, InvalidateNamespace, Touch, Increment."""

import time
from datetime import timedelta

import grpc
import pytest

from conftest import refusal
from larder.v1 import cache_service_pb2 as pb

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
# Tolerance for a replica's estimate of the store's clock.
CLOCKS_DIFFER = timedelta(milliseconds=50)


def test_kinds(larder, namespace):
    values = {
        "data": pb.Value(data=b"\x00\x01\xff"),
        "empty": pb.Value(data=b""),
        "text": pb.Value(text="grüße 👋"),
        # The document is returned byte for byte, including the whitespace.
        "json": pb.Value(json='{ "b":1,\n "a" : [null, 1.0] }'),
    }
    for key, value in values.items():
        stored = larder.Set(pb.SetRequest(namespace=namespace, key=key, value=value))
        assert stored.result == pb.SET_RESULT_STORED
        got = larder.Get(pb.GetRequest(namespace=namespace, key=key))
        assert (got.outcome, got.value) == (pb.OUTCOME_HIT, value)
        assert not got.degraded


@pytest.mark.parametrize(
    "data", [bytes(range(256)), bytes(range(256)) * 3840], ids=["256 B", "1 MiB - 64 KiB"]
)
def test_binary(larder, namespace, data):
    larder.Set(pb.SetRequest(namespace=namespace, key="blob", value=pb.Value(data=data)))
    got = larder.Get(pb.GetRequest(namespace=namespace, key="blob"))
    assert got.value.data == data, f"got {len(got.value.data)} bytes"


def test_keys(larder, namespace):
    # The two é are one character, and an e with a combining accent: keys are not normalised.
    keys = [
        "日本語",
        "🦀",
        "caf\u00e9",
        "cafe\u0301",
        "a\0b",
        "\0",
        "a:b",
        "{a}",
        "a b\n",
        "x" * 1024,
    ]
    for key in keys:
        larder.Set(
            pb.SetRequest(namespace=namespace, key=key, value=pb.Value(text=f"value of {key}"))
        )
    for key in keys:
        assert (
            larder.Get(pb.GetRequest(namespace=namespace, key=key)).value.text == f"value of {key}"
        )


def test_params(larder, namespace):
    def get(params):
        return larder.Get(pb.GetRequest(namespace=namespace, key="list", params=params)).value.text

    pairs = [("page", "2"), ("order", "desc"), ("ü", "🦀"), ("empty", "")]
    larder.Set(
        pb.SetRequest(
            namespace=namespace, key="list", params=dict(pairs), value=pb.Value(text="with")
        )
    )
    assert get(dict(reversed(pairs))) == "with"
    assert get({}) == "", "params are part of the key"
    larder.Set(pb.SetRequest(namespace=namespace, key="list", value=pb.Value(text="without")))
    assert get({}) == "without"
    assert get(dict(pairs)) == "with"
    assert get({"page": "2"}) == ""


def test_ttl(larder, namespace):
    ttl = timedelta(seconds=1)
    asked = time.monotonic()
    stored = larder.Set(
        pb.SetRequest(namespace=namespace, key="brief", value=pb.Value(text="x"), ttl=ttl)
    )
    answered = time.monotonic()
    applied = stored.ttl.ToTimedelta()
    assert ttl * 0.9 <= applied <= ttl, "the jitter shortens by at most a tenth"

    got = larder.Get(pb.GetRequest(namespace=namespace, key="brief"))
    assert got.outcome == pb.OUTCOME_HIT
    assert timedelta(0) < got.entry.ttl_remaining.ToTimedelta() <= applied + CLOCKS_DIFFER
    while got.outcome == pb.OUTCOME_HIT:
        assert time.monotonic() < answered + 5, "still a hit long after its TTL"
        time.sleep(0.01)
        sent = time.monotonic()
        got = larder.Get(pb.GetRequest(namespace=namespace, key="brief"))
        if got.outcome == pb.OUTCOME_HIT:
            assert sent < answered + (applied + CLOCKS_DIFFER).total_seconds(), "outlived its TTL"
    assert got.outcome == pb.OUTCOME_MISS
    assert time.monotonic() > asked + (applied - CLOCKS_DIFFER).total_seconds(), (
        "gone before its TTL"
    )


def test_default_and_clamped_ttl(larder, namespace):
    def applied(**ttl):
        return larder.Set(
            pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text="x"), **ttl)
        ).ttl.ToTimedelta()

    assert timedelta(minutes=27) <= applied() <= timedelta(minutes=30)
    assert timedelta(days=6.3) <= applied(ttl=timedelta(days=365)) <= timedelta(days=7)


def test_conditions(larder, namespace):
    def put(text, **condition):
        return larder.Set(
            pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text=text), **condition)
        )

    assert put("a", if_present=True).result == pb.SET_RESULT_CONDITION_NOT_MET
    first = put("b", if_absent=True)
    assert first.result == pb.SET_RESULT_STORED
    refused = put("c", if_absent=True)
    assert (refused.result, refused.version) == (pb.SET_RESULT_CONDITION_NOT_MET, "")
    second = put("d", if_version=first.version)
    assert second.result == pb.SET_RESULT_STORED
    assert put("e", if_version=first.version).result == pb.SET_RESULT_CONDITION_NOT_MET
    assert larder.Get(pb.GetRequest(namespace=namespace, key="k")).value.text == "d"
    assert put("f", if_present=True).result == pb.SET_RESULT_STORED


def test_versions_and_tags(larder, namespace):
    request = pb.SetRequest(
        namespace=namespace, key="k", value=pb.Value(text="x"), tags=["user:2", "blue", "team:7"]
    )
    versions = [larder.Set(request).version for _ in range(3)]
    assert all(versions) and len(set(versions)) == 3, "every Set creates a new version"
    entry = larder.Get(pb.GetRequest(namespace=namespace, key="k")).entry
    assert entry.version == versions[-1]
    assert entry.tags == ["blue", "team:7", "user:2"]
    assert entry.tier in (pb.TIER_STORE, pb.TIER_NEAR)
    assert entry.age.ToTimedelta() < timedelta(minutes=1)


def test_delete(larder, namespace):
    larder.Set(pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text="x")))
    assert not larder.Delete(
        pb.DeleteRequest(namespace=namespace, key="k", params={"a": "b"})
    ).existed
    assert larder.Delete(pb.DeleteRequest(namespace=namespace, key="k")).existed
    assert larder.Get(pb.GetRequest(namespace=namespace, key="k")).outcome == pb.OUTCOME_MISS
    assert not larder.Delete(pb.DeleteRequest(namespace=namespace, key="k")).existed


def test_invalidate_namespace(larder, namespace):
    neighbour = namespace + "-2"
    for owner in (namespace, neighbour):
        for key in ("a", "b"):
            larder.Set(pb.SetRequest(namespace=owner, key=key, value=pb.Value(text="x")))
    larder.InvalidateNamespace(pb.InvalidateNamespaceRequest(namespace=namespace))
    for key in ("a", "b"):
        assert larder.Get(pb.GetRequest(namespace=namespace, key=key)).outcome == pb.OUTCOME_MISS
        assert larder.Get(pb.GetRequest(namespace=neighbour, key=key)).outcome == pb.OUTCOME_HIT
    larder.Set(pb.SetRequest(namespace=namespace, key="a", value=pb.Value(text="again")))
    assert larder.Get(pb.GetRequest(namespace=namespace, key="a")).value.text == "again"


def test_invalidate(larder, namespace):
    def put(key, *tags):
        larder.Set(pb.SetRequest(namespace=namespace, key=key, value=pb.Value(text="x"), tags=tags))

    for key, tag in (("a", "x"), ("user:1", "y"), ("k", "z")):
        put(key, tag)
    targets = [
        pb.Target(key=pb.KeyRef(namespace=namespace, key="k")),
        pb.Target(tags=pb.TagTarget(namespace=namespace, tags=["x", "w"])),
        pb.Target(pattern=pb.PatternTarget(namespace=namespace, glob="user:*")),
        pb.Target(namespace=namespace + "-2"),
    ]
    results = larder.Invalidate(
        pb.InvalidateRequest(targets=targets, hold_off=timedelta(0))
    ).results
    applied = pb.DURABILITY_APPLIED
    assert results[0] == pb.TargetResult(existed=True, durability=applied)
    assert results[1] == results[2]
    assert results[3] == pb.TargetResult(namespace_invalidated=True, durability=applied)
    for key in ("a", "user:1", "k"):
        assert larder.Get(pb.GetRequest(namespace=namespace, key=key)).outcome == pb.OUTCOME_MISS
        put(key, "x")
        assert larder.Get(pb.GetRequest(namespace=namespace, key=key)).outcome == pb.OUTCOME_HIT


def test_touch(larder, namespace):
    def touch(key):
        return larder.Touch(pb.TouchRequest(namespace=namespace, key=key, ttl=timedelta(hours=2)))

    stored = larder.Set(
        pb.SetRequest(
            namespace=namespace, key="k", value=pb.Value(text="x"), ttl=timedelta(minutes=1)
        )
    )
    touched = touch("k")
    assert touched.found
    assert timedelta(hours=1.8) <= touched.ttl.ToTimedelta() <= timedelta(hours=2)
    entry = larder.Get(pb.GetRequest(namespace=namespace, key="k")).entry
    assert entry.version == stored.version, "Touch does not change the version"
    assert (
        timedelta(hours=1)
        < entry.ttl_remaining.ToTimedelta()
        <= touched.ttl.ToTimedelta() + CLOCKS_DIFFER
    )
    missing = touch("missing")
    assert not missing.found and not missing.HasField("ttl")


def test_increment(larder, namespace):
    def increment(key, **how):
        return larder.Increment(pb.IncrementRequest(namespace=namespace, key=key, **how)).value

    assert increment("visits") == 1
    assert increment("visits", delta=41) == 42
    assert increment("visits", delta=0) == 42
    assert increment("visits", delta=-50) == -8
    assert increment("started", delta=5, initial=100) == 105
    assert larder.Get(pb.GetRequest(namespace=namespace, key="visits")).value.text == "-8"

    assert increment("max", initial=INT64_MAX, delta=0) == INT64_MAX
    assert larder.Get(pb.GetRequest(namespace=namespace, key="max")).value.text == str(INT64_MAX)
    assert increment("min", delta=INT64_MIN) == INT64_MIN
    assert increment("min", delta=INT64_MAX) == -1
    assert increment("exact", initial=2**53, delta=1) == 2**53 + 1, "no conversion to a double"

    larder.Set(pb.SetRequest(namespace=namespace, key="visits", value=pb.Value(text="7")))
    assert increment("visits") == 8, "Set resets a counter"


def test_increment_refused(larder, namespace):
    larder.Set(pb.SetRequest(namespace=namespace, key="max", value=pb.Value(text=str(INT64_MAX))))
    larder.Set(pb.SetRequest(namespace=namespace, key="word", value=pb.Value(text="seven")))
    for key, reason in (("max", "OVERFLOW"), ("word", "NOT_AN_INTEGER")):
        request = pb.IncrementRequest(namespace=namespace, key=key)
        _, info = refusal(grpc.StatusCode.FAILED_PRECONDITION, larder.Increment, request)
        assert info.reason == reason
    assert larder.Get(pb.GetRequest(namespace=namespace, key="max")).value.text == str(INT64_MAX)
