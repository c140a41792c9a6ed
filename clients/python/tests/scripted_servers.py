"""Servers of gRPC that answer as a test has it, for answers that no real server gives on demand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from larder_cache._gen import cache_service_pb2_grpc


@contextlib.contextmanager
def serving(service: Any, folder: Path) -> Iterator[Any]:
    """Serves on a socket in the folder. The service has its address as ``target``."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    cache_service_pb2_grpc.add_CacheServiceServicer_to_server(service, server)
    service.target = f"unix:{folder}/socket"
    server.add_insecure_port(service.target)
    server.start()
    try:
        yield service
    finally:
        server.stop(0).wait()
