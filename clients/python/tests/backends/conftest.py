"""A real server for the tests of the backends, and one per test that can be stopped."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(REPOSITORY / "clients" / "python" / "suites"))

import servers  # noqa: E402

_number = itertools.count()


def _binary() -> Path:
    binary = Path(os.environ.get("LARDER_BIN", REPOSITORY / "target" / "debug" / "larder"))
    if not binary.is_file():
        pytest.fail(f"{binary} not found: run `cargo build`, or set LARDER_BIN")
    return binary


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that all tests share."""
    directory = tmp_path_factory.mktemp("larder")
    # Short leases, so that mutexes must renew theirs.
    settings = {"LARDER_DEFAULTS__LEASE_TTL": "1s"}
    with servers.larder(_binary(), directory, "memory", **settings) as address:
        yield address


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{os.getpid()}-{next(_number)}"


@pytest.fixture
def stopped(tmp_path: Path) -> str:
    """The address of a server that has stopped."""
    with servers.larder(_binary(), tmp_path, "memory") as address:
        return address
