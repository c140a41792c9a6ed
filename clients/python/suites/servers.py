"""A Redis for the server under test, as a child process."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds within which Redis must start or stop.
PATIENCE = 30.0


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Runs a Redis without persistence, on a socket in a directory; yields its URL."""
    socket, log = directory / "redis.sock", directory / "redis.log"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--dir", str(directory)]
    command += ["--save", "", "--appendonly", "no"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server does not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
