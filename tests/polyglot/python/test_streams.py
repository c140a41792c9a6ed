"""FetchStream, BatchGetOrFetch and Renew with leases."""

import os
import queue
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from larder.v1 import cache_service_pb2 as pb

# A process that acquires a lease on a stream, reports it, and waits to be killed.
HOLDER = """
import os, queue, sys, grpc
from larder.v1 import cache_service_pb2 as pb
from larder.v1.cache_service_pb2_grpc import CacheServiceStub

send = queue.SimpleQueue()
stub = CacheServiceStub(grpc.insecure_channel(os.environ["LARDER_ADDRESS"]))
stream = stub.FetchStream(iter(send.get, None))
send.put(pb.FetchStreamRequest(open=pb.GetOrFetchRequest(namespace=sys.argv[1], key="k")))
print(next(stream).answer.WhichOneof("outcome"), flush=True)
print(next(stream), flush=True)
"""


class Stream:
    """A FetchStream. Messages are sent immediately."""

    def __init__(self, larder, namespace, key="k"):
        self.requests = queue.SimpleQueue()
        self.responses = larder.FetchStream(iter(self.requests.get, None))
        self.send(open=pb.GetOrFetchRequest(namespace=namespace, key=key))

    def send(self, **message):
        self.requests.put(pb.FetchStreamRequest(**message))

    def receive(self):
        return next(self.responses)

    def close(self):
        self.requests.put(None)


def wait_for(larder, namespace):
    return larder.GetOrFetch.future(
        pb.GetOrFetchRequest(namespace=namespace, key="k", wait=timedelta(seconds=12))
    )


def test_stream_fills(larder, namespace):
    stream = Stream(larder, namespace)
    assert stream.receive().answer.lease.token
    follower = wait_for(larder, namespace)
    stream.send(
        fill=pb.FetchStreamFill(
            value=pb.Value(text="computed"), ttl=timedelta(minutes=1), tags=["t"]
        )
    )
    filled = stream.receive().filled
    assert filled.result == pb.SET_RESULT_STORED
    found = follower.result().found
    assert (found.value.text, found.entry.version, found.entry.tags) == (
        "computed",
        filled.version,
        ["t"],
    )
    with pytest.raises(StopIteration):
        stream.receive()
    stream.close()


def test_stream_ends_after_a_stored_value(larder, namespace):
    larder.Set(pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text="here")))
    stream = Stream(larder, namespace)
    assert stream.receive().answer.found.value.text == "here"
    with pytest.raises(StopIteration):
        stream.receive()
    stream.close()


def test_closed_stream_releases_its_lease(larder, namespace):
    stream = Stream(larder, namespace)
    first = stream.receive().answer.lease.token
    follower = wait_for(larder, namespace)
    closed = time.monotonic()
    stream.close()
    assert follower.result().lease.token not in (b"", first)
    assert time.monotonic() - closed < 3, "the lease is released at once, before it expires"


def test_killed_process_releases_its_lease(larder, namespace):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, namespace], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "lease\n"
        during = larder.GetOrFetch(
            pb.GetOrFetchRequest(namespace=namespace, key="k", wait=timedelta(0))
        )
        assert during.WhichOneof("outcome") == "contended"
        follower = wait_for(larder, namespace)
        killed = time.monotonic()
        os.kill(holder.pid, signal.SIGKILL)
        assert follower.result().lease.token
        assert time.monotonic() - killed < 3, "the lease is released at once, before it expires"
    finally:
        holder.kill()
        holder.communicate()


def test_batch_grants_leases(larder, namespace):
    larder.Set(pb.SetRequest(namespace=namespace, key="there", value=pb.Value(text="here")))
    names = ["a", "there", "b", "a"]
    request = pb.BatchGetOrFetchRequest(
        keys=[pb.KeyRef(namespace=namespace, key=name) for name in names]
    )
    answers = [
        result.answer for chunk in larder.BatchGetOrFetch(request) for result in chunk.results
    ]
    assert len(answers) == len(names)
    assert answers[1].found.value.text == "here"
    tokens = {
        name: answer.lease.token for name, answer in zip(names, answers) if answer.lease.token
    }
    assert set(tokens) == {"a", "b"}
    for name, token in tokens.items():
        fill = pb.SetRequest(
            namespace=namespace, key=name, value=pb.Value(text=name), lease_token=token
        )
        assert larder.Set(fill).result == pb.SET_RESULT_STORED
    again = [result.answer for chunk in larder.BatchGetOrFetch(request) for result in chunk.results]
    assert [answer.found.value.text for answer in again] == ["a", "here", "b", "a"]


def test_renew(larder, namespace):
    def renew(token):
        return larder.Renew(pb.RenewRequest(namespace=namespace, key="k", lease_token=token))

    token = larder.GetOrFetch(pb.GetOrFetchRequest(namespace=namespace, key="k")).lease.token
    for _ in range(2):
        renewed = renew(token)
        assert renewed.result == pb.RENEW_RESULT_RENEWED
        assert timedelta(0) < renewed.expires_in.ToTimedelta() <= timedelta(seconds=10)
    other = renew(bytes(16))
    assert (other.result, other.HasField("expires_in")) == (pb.RENEW_RESULT_LEASE_LOST, False)
    larder.Set(pb.SetRequest(namespace=namespace, key="k", value=pb.Value(text="newer")))
    assert renew(token).result == pb.RENEW_RESULT_SUPERSEDED
