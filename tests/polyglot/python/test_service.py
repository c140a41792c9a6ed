"""Errors, metadata, deadlines, cancellation, health, reflection and statistics."""

import time
from datetime import timedelta

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from conftest import eventually, refusal
from larder.v1 import cache_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["CacheService"]


@pytest.mark.parametrize(
    ("field", "limit", "change"),
    [
        ("namespace", "64", {"namespace": "n" * 65}),
        ("namespace", None, {"namespace": "Not Allowed"}),
        ("key", "1024", {"key": "k" * 1025}),
        ("key", None, {"key": ""}),
        ("params", "64", {"params": {f"p{number}": "" for number in range(65)}}),
        ("ttl", None, {"ttl": timedelta(0)}),
        ("tags[1]", "128", {"tags": ["fine", "t" * 129]}),
        ("value.json", None, {"value": pb.Value(json="{not json")}),
    ],
)
def test_invalid_argument(larder, namespace, field, limit, change):
    valid = {"namespace": namespace, "key": "k", "value": pb.Value(text="x")}
    request = pb.SetRequest(**(valid | change))
    bad_request, info = refusal(grpc.StatusCode.INVALID_ARGUMENT, larder.Set, request)
    (violation,) = bad_request.field_violations
    assert info.reason == "INVALID_ARGUMENT"
    assert violation.field == info.metadata["field"] == field
    assert violation.description
    if limit:
        assert info.metadata["limit"] == limit
        assert limit in violation.description


def test_value_too_large(larder, namespace):
    request = pb.SetRequest(
        namespace=namespace, key="k", value=pb.Value(data=bytes(1024 * 1024 + 1))
    )
    bad_request, info = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, larder.Set, request)
    assert info.reason == "VALUE_TOO_LARGE"
    assert (info.metadata["field"], info.metadata["limit"]) == ("value", "1048576")
    assert "1048576" in bad_request.field_violations[0].description


def test_metadata(larder, namespace):
    def headers(call, request):
        return dict(call.with_call(request)[1].initial_metadata())

    name = {"namespace": namespace, "key": "k"}
    assert headers(larder.Get, pb.GetRequest(**name))["x-cache"] == "MISS"
    larder.Set(pb.SetRequest(**name, value=pb.Value(text="x"), ttl=timedelta(minutes=1)))
    for call, request in (
        (larder.Get, pb.GetRequest(**name)),
        (larder.GetOrFetch, pb.GetOrFetchRequest(**name)),
    ):
        got = headers(call, request)
        assert got["x-cache"] == "HIT"
        assert 0 <= int(got["x-cache-age"]) <= 10
        assert 40 <= int(got["x-cache-ttl-remaining"]) <= 60


def test_deadline(larder, namespace):
    name = {"namespace": namespace, "key": "k"}
    lease = larder.GetOrFetch(pb.GetOrFetchRequest(**name)).lease
    started = time.monotonic()
    try:
        answer = larder.GetOrFetch(
            pb.GetOrFetchRequest(**name, wait=timedelta(seconds=30)), timeout=0.3
        )
        assert answer.WhichOneof("outcome") == "contended", (
            "the server answers contended just before the deadline"
        )
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 0.2 < time.monotonic() - started < 3
    filled = larder.Set(pb.SetRequest(**name, value=pb.Value(text="x"), lease_token=lease.token))
    assert filled.result == pb.SET_RESULT_STORED, (
        "another caller's deadline does not affect the lease"
    )


def test_cancellation(larder, namespace):
    name = {"namespace": namespace, "key": "k"}
    lease = larder.GetOrFetch(pb.GetOrFetchRequest(**name)).lease
    waiting = larder.GetOrFetch.future(pb.GetOrFetchRequest(**name, wait=timedelta(seconds=30)))
    # An answered call proves that the server has received the call before it.
    larder.Get(pb.GetRequest(**name))
    waiting.cancel()
    assert waiting.code() == grpc.StatusCode.CANCELLED
    filled = larder.Set(
        pb.SetRequest(**name, value=pb.Value(data=bytes(65536)), lease_token=lease.token)
    )
    assert filled.result == pb.SET_RESULT_STORED, "a cancelled caller does not affect the lease"

    stream = larder.BatchGet(pb.BatchGetRequest(keys=[pb.KeyRef(**name)] * 1000))
    assert next(iter(stream)).results[0].outcome == pb.OUTCOME_HIT
    stream.cancel()
    assert stream.code() == grpc.StatusCode.CANCELLED
    assert larder.Get(pb.GetRequest(**name)).outcome == pb.OUTCOME_HIT, "the connection still works"


def test_health(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE.full_name, "liveness", "store"):
        request = health_pb2.HealthCheckRequest(service=service)
        assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING, service
        watch = health.Watch(request)
        assert next(iter(watch)).status == health_pb2.HealthCheckResponse.SERVING, service
        watch.cancel()
    with pytest.raises(grpc.RpcError) as raised:
        health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE.full_name, "grpc.health.v1.Health"} <= set(database.get_services())
    served = DescriptorPool(database).FindServiceByName(SERVICE.full_name)
    assert [method.name for method in served.methods] == [method.name for method in SERVICE.methods]


def test_stats(larder, namespace):
    def get(key):
        larder.Get(pb.GetRequest(namespace=namespace, key=key))

    for _ in range(3):
        larder.Set(pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text="x")))
    larder.Set(
        pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text="x"), if_absent=True)
    )
    for key in ("k", "k", "k", "k", "missing", "missing"):
        get(key)
    lease = pb.GetOrFetchRequest(namespace=namespace, key="leased", wait=timedelta(0))
    token = larder.GetOrFetch(lease).lease.token
    larder.GetOrFetch(lease)
    larder.Abandon(pb.AbandonRequest(namespace=namespace, key="leased", lease_token=token))
    larder.Delete(pb.DeleteRequest(namespace=namespace, key="k"))
    larder.InvalidateNamespace(pb.InvalidateNamespaceRequest(namespace=namespace))

    def counted():
        stats = larder.Stats(pb.StatsRequest(namespaces=[namespace]))
        return (
            stats if stats.namespaces and stats.namespaces[0].counted.total.invalidations else None
        )

    stats = eventually(counted)
    assert [each.namespace for each in stats.namespaces] == [namespace]
    expected = {
        "hits": 4, "misses": 4, "hit_rate": 0.5, "sets": 3, "sets_refused": 1, "deletes": 1,
        "invalidations": 1, "leases_granted": 1, "leases_refused": 1, "leases_abandoned": 1,
        "stale": 0, "negative": 0, "degraded": 0,
    }  # fmt: skip
    for window in ("total", "last_hour", "last_day"):
        counters = getattr(stats.namespaces[0].counted, window)
        assert {name: getattr(counters, name) for name in expected} == expected, window
        assert timedelta(0) < counters.hit_latency.p50.ToTimedelta() < timedelta(seconds=1)
    assert not stats.degraded
    assert stats.store.reachable
    assert stats.store.kind in ("memory", "redis")
    assert abs(stats.collected_at.ToSeconds() - time.time()) < 60
