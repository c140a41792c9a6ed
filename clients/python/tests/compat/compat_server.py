"""The default clients on a server of the module, with its namespaces emptied each time.

A module takes the fixtures by their names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from larder_cache import Client, configure, default_async_client
from larder_cache.testing import LarderServer

CONFIG = """
[defaults]
ttl = "10m"
ttl_jitter = 0.0

[[events.points_changed]]
namespace = "points"
pattern = "{user_id}:*"
"""

NAMESPACES = ("user", "points", "pickup", "company", "general", "flask", "areas", "statistics")


@pytest.fixture(scope="module")
def server() -> Iterator[LarderServer]:
    with LarderServer(config=CONFIG) as running:
        yield running


@pytest.fixture
def client(server: LarderServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for variable in ("REDIS_ENABLED", "REDIS_CACHE_ENABLED", "REDIS_CACHE_KEY_PREFIX"):
        monkeypatch.delenv(variable, raising=False)
    configure(server.target, preset="local")
    with Client(server.target) as reader:
        for name in NAMESPACES:
            reader.namespace(name).invalidate_namespace()
        yield reader
    configure()


@pytest.fixture
def run(client: Client) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run(test: Coroutine[Any, Any, Any]) -> Any:
        async def main() -> Any:
            try:
                return await test
            finally:
                await default_async_client().close()

        return asyncio.run(main())

    return run
