"""The same without the library: a fork after a channel of the module was used."""

from __future__ import annotations

import multiprocessing
import os

import grpc

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen.cache_service_pb2_grpc import CacheServiceStub

stub = CacheServiceStub(grpc.insecure_channel(os.environ["LARDER_ENDPOINT"]))


def work() -> None:
    """One call, on the channel of the parent."""
    stub.Get(pb.GetRequest(namespace="naive", key="k"), timeout=2)


if __name__ == "__main__":
    work()
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
