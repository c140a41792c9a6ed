"""Fixtures for pytest: `pytest_plugins = ["larder_cache.testing.fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from larder_cache.client import Client
from larder_cache.testing.fake import FakeLarder
from larder_cache.testing.server import LarderServer

__all__ = ["fake_larder", "larder_client", "larder_server"]


@pytest.fixture
def fake_larder() -> FakeLarder:
    """A fake, empty for each test."""
    return FakeLarder()


@pytest.fixture(scope="session")
def larder_server() -> Iterator[LarderServer]:
    """The real server, one for all tests. Skips the test if there is no binary."""
    try:
        server = LarderServer().start()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield server
    server.close()


@pytest.fixture
def larder_client(larder_server: LarderServer) -> Iterator[Client]:
    """A client of the real server, with long deadlines."""
    with Client(larder_server.target, preset="local", on_error="raise") as client:
        yield client
