"""The same without the library: a channel of the module, used before the workers fork."""

from __future__ import annotations

import json
import os
from typing import Any

import grpc

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen.cache_service_pb2_grpc import CacheServiceStub

channel = grpc.insecure_channel(os.environ["LARDER_ENDPOINT"])
stub = CacheServiceStub(channel)
stub.Get(pb.GetRequest(namespace="naive", key="k"), timeout=10)


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """One call, on the channel of the master."""
    stub.Get(pb.GetRequest(namespace="naive", key="k"))
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps({"pid": os.getpid()}).encode()]
