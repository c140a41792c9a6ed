"""Transport: trailers, cancelled and timed out calls, flow control, concurrency, broken streams."""

import os
import random
import time
import urllib.request
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from conftest import eventually
from larder.v1 import cache_service_pb2 as pb
from larder.v1.cache_service_pb2_grpc import CacheServiceStub
from test_streams import Stream, wait_for

LONGEST = 900 * 1024
BATCH_VALUES = 200
BATCH_VALUE = 64 * 1024
# How often the slow reader requests each value: more data than any library buffers.
REPEATED = 3


def all_waiting():
    """Number of calls that wait in the server, from its metrics."""
    with urllib.request.urlopen(
        f"http://{os.environ['LARDER_ADMIN_ADDRESS']}/metrics", timeout=5
    ) as response:
        metrics = response.read().decode()
    (calls,) = (
        line.split(" ")[1] for line in metrics.splitlines() if line.startswith("larder_waiting ")
    )
    return int(calls)


def distinct(seed, size):
    """Bytes that depend on the seed and on the position."""
    return random.Random(seed).randbytes(size)


def store_batch(larder, namespace, times=1):
    """Stores the values of the large batch, and returns a request for each value `times` times."""
    keys = [pb.KeyRef(namespace=namespace, key=f"k{number}") for number in range(BATCH_VALUES)]
    for begin in range(0, BATCH_VALUES, 40):
        items = [
            pb.SetRequest(
                namespace=namespace,
                key=f"k{number}",
                value=pb.Value(data=distinct(number, BATCH_VALUE)),
            )
            for number in range(begin, begin + 40)
        ]
        answer = larder.BatchSet(pb.BatchSetRequest(items=items))
        assert [result.result for result in answer.results] == [pb.SET_RESULT_STORED] * 40
    return pb.BatchGetRequest(keys=keys * times)


def check_batch(chunks, times=1):
    assert len(chunks) >= 10 * times, "13 MB in messages of about 1 MiB"
    values = [result.value.data for chunk in chunks for result in chunk.results]
    assert len(values) == BATCH_VALUES * times
    for number, value in enumerate(values):
        # Without assert, which would print both values.
        if value != distinct(number % BATCH_VALUES, BATCH_VALUE):
            pytest.fail(f"value {number} is not what was stored")


def test_trailers(larder, namespace):
    with pytest.raises(grpc.RpcError) as raised:
        larder.Set(pb.SetRequest(namespace=namespace, key="", value=pb.Value(text="x")))
    error = raised.value
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "key" in error.details()
    encoded = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(encoded)
    assert (status.code, status.message) == (
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        error.details(),
    )
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in status.details)
    assert [violation.field for violation in bad_request.field_violations] == ["key"]

    name = {"namespace": namespace, "key": "k"}
    for expected in ("MISS", "HIT"):
        _, call = larder.Get.with_call(pb.GetRequest(**name))
        assert call.code() == grpc.StatusCode.OK
        assert dict(call.initial_metadata())["x-cache"] == expected
        larder.Set(pb.SetRequest(**name, value=pb.Value(text="x")))


def test_cancelled_waits(larder, namespace):
    name = {"namespace": namespace, "key": "k"}
    lease = larder.GetOrFetch(pb.GetOrFetchRequest(**name)).lease
    request = pb.GetOrFetchRequest(**name, wait=timedelta(seconds=10))
    calls = [larder.GetOrFetch.future(request) for _ in range(20)]
    eventually(lambda: all_waiting() >= len(calls))
    for call in calls:
        call.cancel()
    assert [call.code() for call in calls] == [grpc.StatusCode.CANCELLED] * len(calls)
    eventually(lambda: all_waiting() == 0, within=3.0)
    filled = larder.Set(pb.SetRequest(**name, value=pb.Value(text="x"), lease_token=lease.token))
    assert filled.result == pb.SET_RESULT_STORED
    assert larder.Get(pb.GetRequest(**name)).value.text == "x", "the connection still works"


def test_short_deadlines(larder, namespace):
    name = {"namespace": namespace, "key": "k"}
    lease = larder.GetOrFetch(pb.GetOrFetchRequest(**name)).lease
    started = time.monotonic()
    request = pb.GetOrFetchRequest(**name, wait=timedelta(seconds=5))
    calls = [larder.GetOrFetch.future(request, timeout=0.1) for _ in range(20)]
    for call in calls:
        if call.exception() is None:
            assert call.result().WhichOneof("outcome") == "contended"
        else:
            assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2
    filled = larder.Set(pb.SetRequest(**name, value=pb.Value(text="x"), lease_token=lease.token))
    assert filled.result == pb.SET_RESULT_STORED, "the lease is still valid"


def test_large_values(larder, namespace):
    name, value = {"namespace": namespace, "key": "k"}, distinct(7, LONGEST)
    assert (
        larder.Set(pb.SetRequest(**name, value=pb.Value(data=value))).result == pb.SET_RESULT_STORED
    )
    calls = [larder.Get.future(pb.GetRequest(**name)) for _ in range(50)]
    assert [call.result().value.data == value for call in calls] == [True] * len(calls)


def test_compressed_messages(larder, namespace):
    name, gzip = {"namespace": namespace, "key": "k"}, {"compression": grpc.Compression.Gzip}
    for text in ("short", "a compressible value, " * 10_000):
        request = pb.SetRequest(**name, value=pb.Value(text=text))
        assert larder.Set(request, **gzip).result == pb.SET_RESULT_STORED
        assert larder.Get(pb.GetRequest(**name), **gzip).value.text == text
        assert larder.Get(pb.GetRequest(**name)).value.text == text
    keys = [pb.KeyRef(**name)] * 100
    chunks = larder.BatchGet(pb.BatchGetRequest(keys=keys), **gzip)
    texts = [result.value.text for chunk in chunks for result in chunk.results]
    assert texts == [text] * 100


def test_large_batch(larder, namespace):
    check_batch(list(larder.BatchGet(store_batch(larder, namespace))))


def test_slow_reader(larder, namespace):
    request = store_batch(larder, namespace, REPEATED)
    larder.Set(pb.SetRequest(namespace=namespace, key="small", value=pb.Value(text="small")))
    stream = larder.BatchGet(request)
    chunks = [next(stream)]
    paused = time.monotonic()
    small = pb.GetRequest(namespace=namespace, key="small")
    calls = [larder.Get.future(small, timeout=5) for _ in range(200)]
    assert [call.result().value.text for call in calls] == ["small"] * len(calls)
    time.sleep(max(0.0, 1 - (time.monotonic() - paused)))
    check_batch([*chunks, *stream], REPEATED)


def test_many_at_once(larder, namespace):
    # Far above the server's limit of concurrent streams per connection.
    keys = [f"k{number}" for number in range(2000)]
    for begin in range(0, len(keys), 500):
        items = [
            pb.SetRequest(namespace=namespace, key=key, value=pb.Value(text=f"value of {key}"))
            for key in keys[begin : begin + 500]
        ]
        larder.BatchSet(pb.BatchSetRequest(items=items))
    calls = {key: larder.Get.future(pb.GetRequest(namespace=namespace, key=key)) for key in keys}
    got = {key: call.result().value.text for key, call in calls.items()}
    assert got == {key: f"value of {key}" for key in keys}


def test_stream_that_fills(larder, namespace):
    stream, value = Stream(larder, namespace), distinct(3, LONGEST)
    assert len(stream.receive().answer.lease.token) == 16
    stream.send(fill=pb.FetchStreamFill(value=pb.Value(data=value)))
    assert stream.receive().filled.result == pb.SET_RESULT_STORED
    with pytest.raises(StopIteration):
        stream.receive()
    stream.close()
    got = larder.Get(pb.GetRequest(namespace=namespace, key="k")).value.data
    assert (got == value) is True


def test_broken_connection(larder, namespace):
    # Otherwise the library shares one connection between channels with equal options.
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(os.environ["LARDER_ADDRESS"], own) as channel:
        stream = Stream(CacheServiceStub(channel), namespace)
        first = stream.receive().answer.lease.token
        assert len(first) == 16
        follower = wait_for(larder, namespace)
        # An answered call proves that the server has received the call before it.
        larder.Get(pb.GetRequest(namespace=namespace, key="k"))
        broken = time.monotonic()
        channel.close()
    second = follower.result().lease.token
    assert len(second) == 16 and second != first
    assert time.monotonic() - broken < 2, "the lease is released at once, before it expires"
    stream.close()
