"""The server of the tests of a module. A module takes the fixtures by their names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from larder_cache import Client
from larder_cache.testing import LarderServer

CONFIG = """
[defaults]
ttl = "10m"
ttl_jitter = 0.0
abandon_backoff = "50ms"

[namespaces.swr]
stale_while_revalidate = "10m"
"""

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[LarderServer]:
    with LarderServer(config=CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LarderServer) -> Client:
    return server.client(preset="local")


@pytest.fixture
def space() -> str:
    return f"test-{next(_numbers)}"
