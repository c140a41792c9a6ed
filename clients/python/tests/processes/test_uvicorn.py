"""uvicorn: an asyncio client that is made at import, in one process and in two."""

from __future__ import annotations

import re
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from processes.support import Program, environment_for, needs, request, side_by_side, until


def free_port() -> int:
    """A port that was free a moment ago; with workers, uvicorn does not print the one it got."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_uvicorn(target: str) -> None:
    needs("uvicorn")
    needs("uvloop")
    side_by_side(
        {
            f"{workers} workers, {loop}": partial(check_uvicorn, target, workers, loop)
            for workers in (1, 2)
            for loop in ("asyncio", "uvloop")
        }
    )


def check_uvicorn(target: str, workers: int, loop: str) -> None:
    """Every worker answers, and computes each key once."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "asgi:application", "--port", str(port)]
    command += ["--workers", str(workers), "--loop", loop, "--lifespan", "on"]
    with Program(command, environment_for(target)) as program:

        def started() -> bool:
            assert program.process.poll() is None, program.errors
            complete = len(re.findall("startup complete", program.errors)) >= workers
            return complete and "running on" in program.errors

        until(started, "uvicorn has started", 60)
        found: dict[int, Any] = {}

        def all_seen() -> bool:
            urls = [f"http://127.0.0.1:{port}/?{port}-{number}" for number in range(6)]
            with ThreadPoolExecutor(6) as pool:
                for facts in pool.map(request, urls):
                    found[facts["pid"]] = facts
            return len(found) == workers

        until(all_seen, "every worker has answered", 60)
        until(
            lambda: request(f"http://127.0.0.1:{port}/?{port}-0")["near_tier"] == "client",
            "a near cache is in use",
        )
        for pid, facts in found.items():
            assert facts["own"] == facts["near"] == pid
            assert len(facts["fetched"]) == 1
            assert facts["loop"].startswith(loop)
        # 20 calls at once, in any number of requests and workers: one computation for each key.
        assert sum(facts["loads"] for facts in found.values()) <= 6
        program.stop()
        assert "Traceback" not in program.errors, program.errors
        assert "rror" not in program.errors, program.errors
