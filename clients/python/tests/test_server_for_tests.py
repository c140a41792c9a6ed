"""`LarderServer`, the real server for tests."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from larder_cache.testing import LarderServer


def test_it_has_no_settings_of_the_program_under_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_HOST", "OTEL_SERVICE_NAME", "LARDER_DEFAULTS__TTL", "SOME_SECRET"):
        monkeypatch.setenv(name, "wrong")
    with LarderServer(environment={"LARDER_DEFAULTS__TTL": "77s"}) as server:
        passed = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
        names = {each.partition(b"=")[0] for each in passed}
        assert b"PATH" in names
        assert not names & {b"REDIS_HOST", b"OTEL_SERVICE_NAME", b"SOME_SECRET"}
        assert server.client(preset="local").namespace("a").set("k", 1).ttl == 77


def test_pause_and_resume() -> None:
    with LarderServer() as server:
        ns = server.client(call_timeout=0.1).namespace("a")
        assert ns.set("k", 1)
        for _ in range(5):
            server.pause()
            # No call that began after the pause has an answer.
            assert ns.get("k").error.code == "DEADLINE_EXCEEDED"
            server.resume()
            deadline = time.monotonic() + 5
            while not ns.get("k"):
                assert time.monotonic() < deadline
        server.pause()
        start = time.monotonic()
        server.stop()
        # It ends by itself, before it would be killed.
        assert time.monotonic() - start < 4


def test_a_server_that_is_not_running() -> None:
    server = LarderServer()
    for call in (server.pause, server.resume):
        with pytest.raises(RuntimeError, match="not running"):
            call()
