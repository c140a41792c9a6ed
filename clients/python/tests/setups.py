"""The clients under test: blocking and asyncio, on the real server and on the fake.

A test is written once, for blocking calls. For the asyncio client, `Blocking` runs each call on an
event loop in a thread.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from larder_cache import AsyncClient, AsyncNamespace, Client
from larder_cache.testing import FakeLarder, Policy

CONFIG = """
[defaults]
ttl_jitter = 0.0
[namespaces.stale]
stale_while_revalidate = "1h"
stale_if_error = "1h"
[namespaces.error]
stale_if_error = "1h"
[namespaces.short]
lease_ttl = "1s"
[namespaces.released]
abandon_backoff = "20s"
[namespaces.small]
max_value_bytes = "1KiB"
[[events.user_changed]]
namespace = "users"
tags = ["user:{id}"]
"""
POLICIES = {
    "stale": Policy(stale_while_revalidate=3600, stale_if_error=3600),
    "error": Policy(stale_if_error=3600),
    "short": Policy(lease_ttl=1.0),
    "released": Policy(abandon_backoff=20.0),
    "small": Policy(max_value_bytes=1024),
}
EVENTS = {"user_changed": {"namespace": "users", "tags": ["user:{id}"]}}


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Waits until the condition is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


class Blocking:
    """An asyncio client or namespace, called as if it blocked."""

    def __init__(self, inner: Any, loop: Loop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            result = value(*arguments, **options)
            if inspect.isawaitable(result):
                return self._loop.run(result)
            if hasattr(result, "__anext__"):
                return _iterate(result, self._loop)
            if isinstance(result, (AsyncClient, AsyncNamespace)):
                return Blocking(result, self._loop)
            return result

        return call


def _iterate(items: Any, loop: Loop) -> Iterator[Any]:
    try:
        while True:
            try:
                yield loop.run(items.__anext__())
            except StopAsyncIteration:
                return
    finally:
        loop.run(items.aclose())


class Setup:
    """Makes clients of one kind, on a backend."""

    def __init__(self, kind: str, backend: Any, loop: Loop) -> None:
        self.kind = kind
        self.backend = backend
        self.fake = backend if isinstance(backend, FakeLarder) else None
        self._loop = loop
        self._clients: list[Any] = []

    def client(self, **options: Any) -> Any:
        target = options.pop("target", None) or self.fake or self.backend.target
        if self.kind == "threads":
            client: Any = Client(target, **options)
        else:
            client = Blocking(AsyncClient(target, **options), self._loop)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
