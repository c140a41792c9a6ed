"""GetOrFetch with leases: one caller computes the value, and the others wait for it."""

import time
import uuid
from datetime import timedelta

from conftest import eventually
from larder.v1 import cache_service_pb2 as pb

NO_WAIT = timedelta(0)


def lease(larder, namespace, key):
    answer = larder.GetOrFetch(pb.GetOrFetchRequest(namespace=namespace, key=key))
    assert answer.WhichOneof("outcome") == "lease", answer
    return answer.lease


def fill(larder, namespace, key, token, text="computed"):
    return larder.Set(
        pb.SetRequest(namespace=namespace, key=key, value=pb.Value(text=text), lease_token=token)
    )


def test_one_caller_computes(larder, namespace):
    request = pb.GetOrFetchRequest(
        namespace=namespace, key="k", params={"page": "1"}, wait=timedelta(seconds=10)
    )
    calls = [larder.GetOrFetch.future(request) for _ in range(2)]
    leader = eventually(lambda: next((call for call in calls if call.done()), None))
    follower = calls[1 - calls.index(leader)]
    granted = leader.result().lease
    assert granted.token
    assert timedelta(0) < granted.expires_in.ToTimedelta() <= timedelta(seconds=10)
    assert not follower.done(), "the second caller must wait"

    landed = time.monotonic()
    filled = larder.Set(
        pb.SetRequest(
            namespace=namespace,
            key="k",
            params={"page": "1"},
            value=pb.Value(text="computed"),
            lease_token=granted.token,
        )
    )
    assert filled.result == pb.SET_RESULT_STORED
    found = follower.result().found
    assert (found.outcome, found.value.text) == (pb.OUTCOME_HIT, "computed")
    assert time.monotonic() - landed < 2, (
        "waiting callers receive the value as soon as it is stored"
    )
    assert found.entry.version == filled.version


def test_found_at_once(larder, namespace):
    larder.Set(pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text="here")))
    answer = larder.GetOrFetch(pb.GetOrFetchRequest(namespace=namespace, key="k"))
    assert (answer.found.outcome, answer.found.value.text) == (pb.OUTCOME_HIT, "here")


def test_no_wait_is_contended(larder, namespace):
    lease(larder, namespace, "k")
    answer = larder.GetOrFetch(pb.GetOrFetchRequest(namespace=namespace, key="k", wait=NO_WAIT))
    assert answer.WhichOneof("outcome") == "contended"
    assert answer.contended.retry_after.ToTimedelta() > timedelta(0)


def test_abandon(larder, namespace):
    first = lease(larder, namespace, "k")
    abandon = pb.AbandonRequest(
        namespace=namespace, key="k", lease_token=first.token, reason="origin is down"
    )
    larder.Abandon(abandon)
    during = larder.GetOrFetch(pb.GetOrFetchRequest(namespace=namespace, key="k", wait=NO_WAIT))
    assert during.WhichOneof("outcome") == "contended", "no lease is granted during the back-off"
    assert (during.fetch_status, during.cause) == (pb.FETCH_STATUS_FAILED, "origin is down")
    assert fill(larder, namespace, "k", first.token).result == pb.SET_RESULT_LEASE_LOST

    # A caller that asks again after the back-off of 1 s is granted the next lease.
    time.sleep(during.contended.retry_after.ToTimedelta().total_seconds())
    second = lease(larder, namespace, "k")
    assert second.token != first.token
    larder.Abandon(abandon)
    assert fill(larder, namespace, "k", second.token).result == pb.SET_RESULT_STORED, (
        "abandoning a lost lease has no effect"
    )


def test_refused_fills(larder, namespace):
    token = lease(larder, namespace, "written").token
    larder.Set(pb.SetRequest(namespace=namespace, key="written", value=pb.Value(text="newer")))
    refused = fill(larder, namespace, "written", token)
    assert (refused.result, refused.version) == (pb.SET_RESULT_SUPERSEDED, "")
    assert larder.Get(pb.GetRequest(namespace=namespace, key="written")).value.text == "newer"

    token = lease(larder, namespace, "deleted").token
    larder.Delete(pb.DeleteRequest(namespace=namespace, key="deleted"))
    assert fill(larder, namespace, "deleted", token).result == pb.SET_RESULT_INVALIDATED

    token = lease(larder, namespace, "filled").token
    assert fill(larder, namespace, "filled", token).result == pb.SET_RESULT_STORED
    assert fill(larder, namespace, "filled", token).result == pb.SET_RESULT_LEASE_LOST, (
        "a lease allows one fill"
    )

    token = lease(larder, namespace, "invalidated").token
    larder.InvalidateNamespace(pb.InvalidateNamespaceRequest(namespace=namespace))
    assert fill(larder, namespace, "invalidated", token).result == pb.SET_RESULT_INVALIDATED
    for key in ("deleted", "invalidated"):
        assert larder.Get(pb.GetRequest(namespace=namespace, key=key)).outcome == pb.OUTCOME_MISS


def test_stale(larder):
    # tests/polyglot.sh configures stale_while_revalidate for the namespace `stale`.
    key = f"python-{uuid.uuid4()}"
    get = pb.GetRequest(namespace="stale", key=key)
    larder.Set(
        pb.SetRequest(
            namespace="stale", key=key, value=pb.Value(text="old"), ttl=timedelta(milliseconds=50)
        )
    )
    stale = eventually(lambda: (got := larder.Get(get)).outcome != pb.OUTCOME_HIT and got)
    assert (stale.outcome, stale.value.text) == (pb.OUTCOME_STALE, "old")
    assert stale.entry.ttl_remaining.ToTimedelta() == timedelta(0)
    strict = pb.GetRequest(namespace="stale", key=key, max_stale=timedelta(0))
    assert larder.Get(strict).outcome == pb.OUTCOME_MISS, "max_stale tightens the window"

    granted = lease(larder, "stale", key)
    assert granted.HasField("stale") and granted.stale.value.text == "old"
    other = larder.GetOrFetch(pb.GetOrFetchRequest(namespace="stale", key=key))
    assert (other.found.outcome, other.found.value.text) == (pb.OUTCOME_STALE, "old"), (
        "callers do not wait for a refresh"
    )
    assert fill(larder, "stale", key, granted.token, "new").result == pb.SET_RESULT_STORED
    assert larder.Get(get).value.text == "new"
