"""Runs the real server for tests."""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from larder_cache.aio import AsyncClient
from larder_cache.client import Client

__all__ = ["LarderServer"]

_LOG_LINES = 500
# All that is passed on of the caller's environment: the server itself reads `REDIS_*`, `OTEL_*` and
# others, which are those of the program under test.
_PASSED_ON = frozenset(
    {
        "HOME",
        "LANG",
        "LC_ALL",
        "LD_LIBRARY_PATH",
        "LLVM_PROFILE_FILE",
        "PATH",
        "RUST_BACKTRACE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
    }
)


# Seconds that the threads of a server have to stop.
_PAUSE_TIMEOUT = 10.0


def _stopped(pid: int) -> bool:
    """Whether all threads of a process are stopped. The signal takes a moment to reach each."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        # A system without these files: the main thread has the signal.
        return True
    for task in tasks.iterdir():
        try:
            # The name of the thread, in parentheses, can have spaces.
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state not in "Tt":
            return False
    return True


def find_binary() -> str:
    """The path of the server: `LARDER_BIN`, or `larder` on the PATH."""
    given = os.environ.get("LARDER_BIN")
    if given:
        return given
    found = shutil.which("larder")
    if found is None:
        raise FileNotFoundError("larder is not on the PATH: install it, or set LARDER_BIN")
    return found


class LarderServer:
    """A server process on a free port of the loopback.

        with LarderServer(config='[defaults]\\nttl_jitter = 0.0') as server:
            client = server.client()

    `config` is the text of a configuration file, or its path. `store` is `memory` or a URL.
    `environment` has further variables, such as `LARDER_DEFAULTS__TTL`. Those of the caller that
    configure a server, such as `LARDER_*`, `REDIS_*` and `OTEL_*`, are not passed on. The TTLs of
    entries have no jitter, unless the configuration sets it.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | None = None,
        *,
        store: str = "memory",
        binary: str | None = None,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        start_timeout: float = 20.0,
    ) -> None:
        self._config = config
        self._store = store
        self._binary = binary
        self._environment = dict(environment or {})
        self._port = port
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._reader: threading.Thread | None = None
        self._log: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)
        self._serving = threading.Event()
        self._clients: list[Client] = []
        self.target = ""
        """The address of the server, once it has started."""

    def start(self) -> LarderServer:
        """Starts the server, and waits until it serves."""
        if self._process is not None:
            raise RuntimeError("the server is running")
        self._serving.clear()
        command = [self._binary or find_binary()]
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment["LARDER_LISTEN"] = f"127.0.0.1:{self._port}"
        environment["LARDER_ADMIN_LISTEN"] = "127.0.0.1:0"
        environment["LARDER_LOG__FORMAT"] = "json"
        environment["LARDER_SHUTDOWN_TIMEOUT"] = "500ms"
        environment["LARDER_STORE__URL"] = self._store
        if self._config is None:
            environment["LARDER_DEFAULTS__TTL_JITTER"] = "0"
        else:
            command += ["--config", self._config_path()]
        environment.update(self._environment)
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="larder-log", daemon=True)
        self._reader.start()
        deadline = time.monotonic() + self._start_timeout
        while not self._serving.wait(0.05):
            if self._process.poll() is not None or time.monotonic() > deadline:
                code = self._process.poll()
                self.stop()
                raise RuntimeError(f"larder did not start (exit code {code}):\n{self.log}")
        return self

    def _config_path(self) -> str:
        if isinstance(self._config, str) and ("\n" in self._config or "=" in self._config):
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="larder-")
            path = Path(self._folder.name) / "larder.toml"
            path.write_text(self._config)
            return str(path)
        return os.fspath(self._config or "")

    def _read(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        for line in process.stdout:
            self._log.append(line)
            if not self._serving.is_set() and '"serving"' in line:
                self._note_address(line)

    def _note_address(self, line: str) -> None:
        try:
            facts: Any = json.loads(line)
        except ValueError:
            return
        address = facts.get("listen") or facts.get("fields", {}).get("listen")
        if address:
            self.target = address
            self._port = int(address.rpartition(":")[2])
            self._serving.set()

    @property
    def log(self) -> str:
        """The last lines that the server has written."""
        return "".join(self._log)

    @property
    def pid(self) -> int:
        """The id of the process."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def stop(self) -> None:
        """Stops the server. `start` starts it again on the same port."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        if hasattr(signal, "SIGCONT"):
            # A server that is paused does not see the signal.
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()
        if process.stdout is not None:
            process.stdout.close()

    def kill(self) -> None:
        """Ends the server at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.stop()

    def pause(self) -> None:
        """Suspends the server: connections stay open, and calls have no answer until `resume`.

        Returns when all threads of the server have stopped. Not on Windows.
        """
        os.kill(self.pid, signal.SIGSTOP)
        deadline = time.monotonic() + _PAUSE_TIMEOUT
        while not _stopped(self.pid):
            if time.monotonic() > deadline:
                self.resume()
                raise TimeoutError(f"the server did not stop within {_PAUSE_TIMEOUT} s")
            time.sleep(0.001)

    def resume(self) -> None:
        """Continues a server that is paused."""
        os.kill(self.pid, signal.SIGCONT)

    def client(self, **options: Any) -> Client:
        """A client of this server. It is closed with the server."""
        client = Client(self.target, **options)
        self._clients.append(client)
        return client

    def async_client(self, **options: Any) -> AsyncClient:
        """An asyncio client of this server. Its user closes it."""
        return AsyncClient(self.target, **options)

    def close(self) -> None:
        """Closes the clients, stops the server and removes its files."""
        for client in self._clients:
            client.close()
        self.stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> LarderServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
