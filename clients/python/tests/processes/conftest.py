"""Fixtures: one server for all tests of the process models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from larder_cache.testing import LarderServer


@pytest.fixture(scope="session")
def larder() -> Iterator[LarderServer]:
    """The real server, on its store in memory."""
    with LarderServer() as server:
        yield server


@pytest.fixture(scope="session")
def target(larder: LarderServer) -> str:
    """The address of the server."""
    return larder.target
