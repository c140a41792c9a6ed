"""A real server for the tests of the backends, and the address of one that has stopped."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from larder_cache.testing import LarderServer

_BUILT = Path(__file__).resolve().parents[4] / "target" / "debug" / "larder"
_number = itertools.count()


def _server(**environment: str) -> LarderServer:
    binary = os.environ.get("LARDER_BIN", str(_BUILT))
    if not os.path.isfile(binary):
        pytest.fail(f"{binary} not found: run `cargo build`, or set LARDER_BIN")
    return LarderServer(binary=binary, environment=environment)


@pytest.fixture(scope="session")
def target() -> Iterator[str]:
    """The address of a server that all tests share."""
    # Short leases, so that mutexes must renew theirs.
    with _server(LARDER_DEFAULTS__LEASE_TTL="2s") as server:
        yield server.target


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{os.getpid()}-{next(_number)}"


@pytest.fixture
def stopped() -> str:
    """The address of a server that has stopped."""
    with _server() as server:
        return server.target


@pytest.fixture
def server() -> Iterator[LarderServer]:
    """A server of the test's own, to stop and to start."""
    with _server() as server:
        yield server


@pytest.fixture
def site(target: str) -> Iterator[None]:
    """Django with the shared server."""
    import django
    import django_site
    from django.conf import settings
    from django.test import override_settings

    # Other tests of this process configure Django when they are imported.
    if not settings.configured:
        settings.configure(SECRET_KEY="not used")
        django.setup()
    with override_settings(**django_site.settings(target)):
        yield
