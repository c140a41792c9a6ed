"""The processes of the run: Redis, the replicas of Larder, and the services."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

#: Seconds in which a process must be ready, and end after SIGTERM.
READY_WITHIN = 60.0
END_WITHIN = 15.0


class Process:
    """A process with a port of its own, which stays the same when it is started again."""

    def __init__(
        self,
        name: str,
        command: Callable[[int], list[str]],
        *,
        folder: Path,
        log: Path,
        environment: Callable[[int], Mapping[str, str]] = lambda port: {},
        is_ready: Callable[[int], bool] | None = None,
        port: int | None = None,
    ) -> None:
        self.name = name
        self.port = port or free_port()
        self._is_ready = is_ready or accepts
        self._command = command
        self._folder = folder
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the process, without waiting for it."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("LARDER_", "REDIS_"))}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(self.port),
                cwd=self._folder,
                env={**variables, **self._environment(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its workers end with it: see `kill`.
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Waits until it serves. Raises RuntimeError, with the end of its log."""
        deadline = time.monotonic() + READY_WITHIN
        while not await asyncio.to_thread(self._is_ready, self.port):
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"{self.name} has ended:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready:\n{self.tail()}")
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Ends it and its workers at once (SIGKILL)."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ends it gracefully, and at once if that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether connections to the port are accepted."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_ok(url: str) -> bool:
    """Whether the answer to a GET is 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return response.status == 200
    except OSError:
        return False
