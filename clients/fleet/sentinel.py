"""Redis with a replica and a sentinel, which names the replica when the primary is away."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from processes import Redis, until

SERVICE = "main"
# The sentinel asks each second, and a failover has several steps; the machine may be busy.
LIMIT = 30.0


def ask(port: int, *words: str) -> Any:
    """The answer of a server to a command. Raises OSError if there is none."""
    with socket.create_connection(("127.0.0.1", port), 2) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        with connection.makefile("rb") as stream:
            return _answer(stream)


def _answer(stream: IO[bytes]) -> Any:
    line = stream.readline()
    kind, rest = line[:1], line[1:].strip().decode()
    if kind == b"*":
        return [_answer(stream) for _ in range(int(rest))]
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
    if kind in (b"+", b":"):
        return rest
    raise OSError(rest or "the connection has ended")


class Service:
    """A primary, its replica and one sentinel."""

    def __init__(self) -> None:
        # The first copy begins at once.
        at_once = ("--repl-diskless-sync-delay", "0")
        self._primary = Redis(*at_once)
        self._replica = Redis(*at_once, "--replicaof", f"127.0.0.1 {self._primary.port}")
        self._folder = tempfile.TemporaryDirectory(prefix="larder-sentinel-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.url = f"redis-sentinel://127.0.0.1:{self._port}/{SERVICE}"
        self._sentinel: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Service:
        try:
            self._primary.start()
            self._replica.start()
            self._start_sentinel()
            until(self._is_complete, "the sentinel has found the replica, which is in sync", LIMIT)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start_sentinel(self) -> None:
        configuration = Path(self._folder.name) / "sentinel.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {self._port}",
            f"dir {self._folder.name}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 5000",
        ]
        configuration.write_text("\n".join(lines) + "\n")
        self._sentinel = subprocess.Popen(
            ["redis-server", str(configuration), "--sentinel"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _is_complete(self) -> bool:
        try:
            facts = ask(self._port, "SENTINEL", "MASTER", SERVICE)
            replication = ask(self._replica.port, "INFO", "replication")
        except OSError:
            return False
        found = dict(zip(facts[::2], facts[1::2]))
        return found.get("num-slaves") == "1" and "master_link_status:up" in replication

    def fail_over(self) -> float:
        """Kills the primary. Returns the seconds until the sentinel names the other server."""
        began = time.monotonic()
        self._primary.kill()
        until(self._is_replaced, "the sentinel names the replica as the primary", LIMIT)
        return time.monotonic() - began

    def _is_replaced(self) -> bool:
        try:
            named = ask(self._port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        except OSError:
            return False
        return bool(named[1] == str(self._replica.port))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sentinel is not None:
            self._sentinel.kill()
            self._sentinel.wait()
        self._replica.__exit__(kind, error, traceback)
        self._primary.__exit__(kind, error, traceback)
        self._folder.cleanup()
