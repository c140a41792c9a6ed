"""Fixtures of all tests: clients of both kinds, on the real server and on the fake."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from setups import CONFIG, EVENTS, POLICIES, Loop, Setup

from larder_cache.testing import FakeLarder, LarderServer


@pytest.fixture(scope="session")
def server() -> Iterator[LarderServer]:
    with LarderServer(CONFIG) as running:
        yield running


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    running = Loop()
    yield running
    running.close()


@pytest.fixture(params=["threads", "asyncio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["server", "fake"])
def setup(request: pytest.FixtureRequest, kind: str, loop: Loop) -> Iterator[Setup]:
    """Both kinds of clients on both backends."""
    if request.param == "server":
        backend: Any = request.getfixturevalue("server")
    else:
        backend = FakeLarder(namespaces=POLICIES, events=EVENTS)
    made = Setup(kind, backend, loop)
    yield made
    made.close()


@pytest.fixture
def on_server(kind: str, server: LarderServer, loop: Loop) -> Iterator[Setup]:
    """Both kinds of clients on the real server."""
    made = Setup(kind, server, loop)
    yield made
    made.close()


@pytest.fixture
def on_fake(kind: str, loop: Loop) -> Iterator[Setup]:
    """Both kinds of clients on the fake."""
    made = Setup(kind, FakeLarder(namespaces=POLICIES), loop)
    yield made
    made.close()


_number = iter(range(1_000_000))


@pytest.fixture
def ns(setup: Setup) -> Any:
    """A namespace of its own for each test."""
    return setup.client(on_error="raise", preset="local").namespace(f"test-{next(_number)}")
