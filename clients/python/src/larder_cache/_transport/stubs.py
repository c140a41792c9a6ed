"""The generated stubs of a channel, or those of a fake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from larder_cache._gen import admin_service_pb2_grpc, cache_service_pb2_grpc


class Stubs:
    """The stubs of one channel: `cache` and `admin`."""

    __slots__ = ("admin", "cache", "close")

    def __init__(self, cache: Any, admin: Any, close: Callable[[], Any]) -> None:
        self.cache: Any = cache
        self.admin: Any = admin
        self.close = close


def of_channel(channel: Any) -> Stubs:
    """The stubs of a channel, blocking or asyncio."""
    cache = cache_service_pb2_grpc.CacheServiceStub(channel)  # type: ignore[no-untyped-call]
    admin = admin_service_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
    return Stubs(cache, admin, channel.close)
