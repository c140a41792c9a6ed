"""Shared fixtures: a stub on $LARDER_ADDRESS, a namespace per check, and polling."""

import json
import os
import time
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from larder.v1.cache_service_pb2_grpc import CacheServiceStub

# Default deadline of every call: a hanging call fails its check instead of the run.
SERVICE_CONFIG = {"methodConfig": [{"name": [{}], "timeout": "15s"}]}


@pytest.fixture(scope="session")
def channel():
    options = [("grpc.service_config", json.dumps(SERVICE_CONFIG))]
    with grpc.insecure_channel(os.environ["LARDER_ADDRESS"], options) as channel:
        yield channel


@pytest.fixture(scope="session")
def larder(channel):
    return CacheServiceStub(channel)


@pytest.fixture
def namespace():
    """A unique namespace, which isolates a check from other checks and earlier runs."""
    return f"python-{uuid.uuid4().hex[:12]}"


def eventually(probe, within=10.0):
    """Polls until the probe returns a true value, and returns that value."""
    deadline = time.monotonic() + within
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"still {answer!r} after {within} s"
        time.sleep(0.02)
    return answer


def refusal(code, call, request):
    """Makes a call that must fail with `code`, and returns its BadRequest and ErrorInfo."""
    with pytest.raises(grpc.RpcError) as raised:
        call(request)
    error = raised.value
    assert error.code() == code, f"{error.code()}: {error.details()}"
    status = rpc_status.from_call(error)
    assert status is not None, "no grpc-status-details-bin in the trailers"
    bad_request, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    for detail in status.details:
        detail.Unpack(bad_request)
        detail.Unpack(info)
    assert info.domain == "larder"
    return bad_request, info
