"""Redis, and workers in all languages, for the scripts of this folder."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

WORKERS = Path(__file__).parent / "workers"
# Workers of languages that are compiled: polyglot.sh builds them.
BUILT = Path(__file__).parents[2] / "target" / "clients" / "fleet"
# Languages by the kind of client, which is part of the name of the worker's file.
KINDS = {
    "threads": "python",
    "asyncio": "python",
    "node": "node",
    "go": "go",
    "java": "java",
    "rust": "rust",
}


def command_of(kind: str, script: str) -> list[str]:
    """The command that runs a worker."""
    if KINDS[kind] == "python":
        return [sys.executable, str(WORKERS / f"{script}_{kind}.py")]
    if kind == "node":
        return ["node", "--expose-gc", str(WORKERS / f"{script}_{kind}.mjs")]
    if kind == "java":
        path = os.pathsep.join([str(BUILT / "java" / "classes"), str(BUILT / "java" / "lib" / "*")])
        return ["java", "-cp", path, script.capitalize()]
    return [str(BUILT / kind / script)]


class Redis:
    """A redis-server on a fixed port of the loopback. Its data is lost when it is killed."""

    def __init__(self, *arguments: str) -> None:
        if shutil.which("redis-server") is None:
            raise SystemExit("redis-server is not installed")
        self._arguments = arguments
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="larder-fleet-")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it accepts connections."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self._folder.name]
        command += self._arguments
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._accepts, "redis-server accepts connections", 30)

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Ends it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._folder.cleanup()


class Worker:
    """A process with a client. It reads commands, and writes lines of JSON."""

    def __init__(self, kind: str, script: str, target: str, settings: dict[str, Any]) -> None:
        self.kind = kind
        self.language = KINDS[kind]
        command = command_of(kind, script)
        environment = {**os.environ, "LARDER_ENDPOINT": target, "PYTHONFAULTHANDLER": "1"}
        environment["PYTHONUNBUFFERED"] = "1"
        self._errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*command, json.dumps(settings)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    @property
    def errors(self) -> str:
        """Its standard error: the last 4,000 bytes."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), 4000, max(0, size - 4000)).decode(errors="replace")

    def send(self, command: str) -> None:
        """Sends a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def command(self, **command: Any) -> None:
        """Sends a command with arguments, as JSON."""
        self.send(json.dumps(command))

    def ask(self, **command: Any) -> Any:
        """The answer to a command with arguments."""
        self.command(**command)
        return self.answer()

    def answer(self, limit: float = 60.0) -> Any:
        """The next line that it writes. Raises if it ends or takes too long."""
        try:
            line = self._lines.get(timeout=limit)
        except queue.Empty:
            self.process.send_signal(signal.SIGABRT)
            time.sleep(1)
            raise Broken(f"{self.kind}: no answer within {limit:g} s\n{self.errors}") from None
        if line is None:
            code = self.process.wait()
            raise Broken(f"{self.kind}: ended with exit code {code}\n{self.errors}")
        return json.loads(line)

    def memory(self) -> float:
        """Its resident set in MiB; 0 if it has ended."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def end(self, limit: float = 30.0) -> int:
        """Waits for its end."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.kind}: it does not end after close\n{self.errors}") from None

    def kill(self) -> None:
        """Ends it in any case."""
        self.process.kill()
        self.process.wait()


class Broken(Exception):
    """A promise is broken."""


def until(check: Callable[[], bool], problem: str, limit: float) -> None:
    """Polls until the check is true."""
    deadline = time.monotonic() + limit
    while not check():
        if time.monotonic() > deadline:
            raise Broken(f"not within {limit:g} s: {problem}")
        time.sleep(0.02)


def verdict(name: str, main: Callable[[], None]) -> None:
    """Runs a script, prints its verdict, and exits with 1 if a promise is broken."""
    # All that was started is ended then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except Broken as broken:
        print(f"{name}: BROKEN: {broken}")
        raise SystemExit(1) from None
    print(f"{name}: kept")
