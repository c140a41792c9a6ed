"""SIGINT while a program is in a call: KeyboardInterrupt, and the client is as before."""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.testing import LarderServer
from processes.support import SCRIPTS, Program, environment_for, until

WAYS = ["call", "loader", "waiting", "asyncio"]


@pytest.fixture
def server() -> Iterator[LarderServer]:
    """A server of the test's own, since it is stopped for a while."""
    with LarderServer('[defaults]\nabandon_backoff = "20s"') as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_interrupt(server: LarderServer, way: str) -> None:
    key = f"k-{uuid.uuid4().hex}"
    command = [sys.executable, str(SCRIPTS / "signals.py"), way, key, str(server.pid)]
    if way == "waiting":
        # Another client computes the value, and this one waits for it.
        stub = server.client(preset="local").stubs.cache
        stub.GetOrFetch(pb.GetOrFetchRequest(namespace="signals", key=key))
    with Program(command, environment_for(server.target)) as program:
        until(lambda: "ready" in program.output, "the program is ready")
        if way in ("call", "waiting"):
            # It prints that before it is in the call, and no other process sees when it is.
            time.sleep(0.5)
        program.process.send_signal(signal.SIGINT)
        assert program.wait(20) == 0, program.errors
        facts = json.loads(program.output.splitlines()[-1])
        assert program.errors == "", program.errors
    assert facts["interrupted"]
    assert facts["value"] == 7
    # A lease that was not passed on would be waited for: 10 s, or the back-off of 20.
    assert facts["took"] < 0.9
