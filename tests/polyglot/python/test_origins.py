"""GetOrFetch with origins: an HTTP origin, and the example of a gRPC origin."""

import json
import os
import sqlite3
import uuid
from contextlib import closing
from datetime import timedelta

import grpc
import pytest

from conftest import refusal
from larder.v1 import cache_service_pb2 as pb

# Origins that tests/polyglot.sh started, each with a namespace.
ORIGINS = os.environ.get("LARDER_ORIGINS", "").split()
http = pytest.mark.skipif("http" not in ORIGINS, reason="the server has no HTTP origin")
example = pytest.mark.skipif("python" not in ORIGINS, reason="the server has no example origin")


def named(what):
    """A unique key. Its prefix selects the response of ../origins/http_origin.py."""
    return f"{what}-python-{uuid.uuid4().hex[:12]}"


def request(namespace, key, **how):
    return pb.GetOrFetchRequest(namespace=namespace, key=key, **how)


@http
def test_read_through(larder):
    missing = request("origin-http", named("value"), params={"page": "2", "q": "ü &"})
    answer, call = larder.GetOrFetch.with_call(missing)
    text = f"/{missing.key}?page=2&q=%C3%BC%20%26#1"
    assert (answer.found.outcome, answer.found.value.text) == (pb.OUTCOME_HIT, text)
    assert (answer.fetch_status, answer.fill) == (pb.FETCH_STATUS_FETCHED, pb.FILL_RESULT_STORED)
    assert answer.found.entry.tier == pb.TIER_ORIGIN
    assert dict(call.initial_metadata())["x-cache-fetch"] == "FETCHED"
    again = larder.GetOrFetch(missing)
    assert (again.found.value.text, again.fetch_status) == (text, pb.FETCH_STATUS_UNSPECIFIED)
    assert again.found.entry.version == answer.found.entry.version
    stored = larder.Get(
        pb.GetRequest(namespace="origin-http", key=missing.key, params=missing.params)
    )
    assert stored.value.text == text


@http
def test_concurrent_calls_cause_one_fetch(larder):
    slow = request("origin-http", named("slow"), wait=timedelta(seconds=10))
    answers = [call.result() for call in [larder.GetOrFetch.future(slow) for _ in range(20)]]
    assert {answer.found.value.text for answer in answers} == {f"/{slow.key}#1"}
    assert [answer.fetch_status for answer in answers].count(pb.FETCH_STATUS_FETCHED) == 1


@http
def test_missing_value_is_negative(larder):
    answer = larder.GetOrFetch(request("origin-http", named("missing")))
    assert answer.found.outcome == pb.OUTCOME_NEGATIVE
    assert not answer.found.HasField("value")


@http
def test_origin_failure_is_an_error(larder):
    broken = request("origin-http", named("broken"))
    _, info = refusal(grpc.StatusCode.UNAVAILABLE, larder.GetOrFetch, broken)
    assert (info.reason, info.metadata["origin"]) == ("ORIGIN_FAILED", "origin-http")
    assert "500" in info.metadata["cause"]
    assert (
        larder.Get(pb.GetRequest(namespace="origin-http", key=broken.key)).outcome
        == pb.OUTCOME_MISS
    )


@http
def test_only_if_cached(larder):
    missing = request("origin-http", named("value"), only_if_cached=True)
    assert larder.GetOrFetch(missing).WhichOneof("outcome") == "not_cached"


@http
def test_batch(larder):
    names = [named("value"), named("missing"), named("broken"), named("value")]
    names.append(names[0])
    keys = [pb.KeyRef(namespace="origin-http", key=name) for name in names]
    stream = larder.BatchGetOrFetch(
        pb.BatchGetOrFetchRequest(keys=keys, wait=timedelta(seconds=10))
    )
    results = [result for chunk in stream for result in chunk.results]
    assert len(results) == len(names)
    for place in (0, 3, 4):
        assert results[place].answer.found.value.text == f"/{names[place]}#1"
    assert results[1].answer.found.outcome == pb.OUTCOME_NEGATIVE
    assert results[2].WhichOneof("result") == "error"
    assert results[2].error.reason == "ORIGIN_FAILED"
    assert "500" in results[2].error.message


@example
def test_example(larder):
    """examples/origin-python with $ORIGIN_DATABASE."""
    user = named("user")

    def write(name, version):
        with (
            closing(sqlite3.connect(os.environ["ORIGIN_DATABASE"], timeout=10)) as database,
            database,
        ):
            database.execute(
                "INSERT OR REPLACE INTO users VALUES (?, ?, 'engines', ?)", (user, name, version)
            )

    def fetch(**how):
        answer = larder.GetOrFetch(request("origin-python", user, **how))
        return json.loads(answer.found.value.json)["name"], answer

    write("Grace", 1)
    name, first = fetch()
    assert (name, first.fetch_status, first.fill) == (
        "Grace",
        pb.FETCH_STATUS_FETCHED,
        pb.FILL_RESULT_STORED,
    )
    assert first.found.entry.tags == ["team:engines"]
    remaining = first.found.entry.ttl_remaining.ToTimedelta()
    assert timedelta(minutes=4) < remaining <= timedelta(minutes=5), "the TTL is the origin's"

    write("Grace Hopper", 2)
    assert fetch()[0] == "Grace", "the old value is still fresh"
    name, second = fetch(no_cache=True)
    assert (name, second.fetch_status) == ("Grace Hopper", pb.FETCH_STATUS_FETCHED)
    name, third = fetch(no_cache=True)
    assert (name, third.fetch_status) == ("Grace Hopper", pb.FETCH_STATUS_REVALIDATED), (
        "the ETag is unchanged"
    )
    assert fetch()[0] == "Grace Hopper"


@example
def test_example_not_found(larder):
    answer = larder.GetOrFetch(request("origin-python", named("absent")))
    assert answer.found.outcome == pb.OUTCOME_NEGATIVE
    assert timedelta(0) < answer.found.entry.ttl_remaining.ToTimedelta() <= timedelta(seconds=10)
