"""The server under test, and the Redis that it may need, as child processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: Seconds within which a process must start or stop.
PATIENCE = 30.0


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits for a condition; raises with the log if it does not hold in time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not serve:\n{log.read_text()}")
        time.sleep(0.02)


@contextlib.contextmanager
def child(command: list[str], log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process until the end of the block."""
    # Variables of the caller could point the server at a store that the tests must not write to.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LARDER_", "REDIS_", "OTEL_"))
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment | settings
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serving_address(log: Path) -> str | None:
    """Returns the address in the log of a server, once it serves."""
    for line in log.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            fields = json.loads(line).get("fields", {})
            if fields.get("message") == "serving":
                return str(fields["listen"])
    return None


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Runs a Redis without persistence; yields its URL."""
    socket, log = directory / "redis.sock", directory / "redis.log"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--dir", str(directory)]
    with child([*command, "--save", "", "--appendonly", "no"], log) as process:
        until(socket.exists, process, log)
        yield f"unix://{socket}"


@contextlib.contextmanager
def larder(binary: Path, directory: Path, store: str, **more_settings: str) -> Iterator[str]:
    """Runs a server on a free port; yields its address.

    The store is ``memory`` or the URL of a Redis. TTLs are exact. Further settings are variables.
    """
    log = directory / "larder.log"
    settings = {
        "LARDER_LISTEN": "127.0.0.1:0",
        "LARDER_ADMIN_LISTEN": "127.0.0.1:0",
        "LARDER_LOG__FORMAT": "json",
        "LARDER_STORE": store,
        "LARDER_DEFAULTS__TTL_JITTER": "0",
        **more_settings,
    }
    with child([str(binary)], log, **settings) as process:
        until(lambda: serving_address(log) is not None, process, log)
        address = serving_address(log)
        assert address is not None
        yield address
