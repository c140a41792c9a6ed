"""A Larder server, and what runs beside it, for the blocks of one page."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import socket
import subprocess
import time

ADDRESS = re.compile(r"\b(127\.0\.0\.1|localhost)?(:| http\.server )(\d{4,5})\b")
SERVER, ADMIN, REDIS = "50051", "9464", "6379"
WAIT_SECONDS = 30
# On a busy machine, the first build of a program in Go takes minutes.
COMMAND_SECONDS = 300


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def is_listening(port: str) -> bool:
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", int(port))) == 0


def until(is_done, seconds: float = WAIT_SECONDS) -> bool:
    """Whether the condition holds before the time is over."""
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Fault(Exception):
    """A block that does not do what its page shows."""


class Surroundings:
    """Folder, ports and processes of a page. Each port of the text is another, free one here."""

    def __init__(self, folder: pathlib.Path, tools: pathlib.Path, larder: str) -> None:
        self.folder = folder
        self.tools = tools
        self.larder = larder
        self.ports: dict[str, str] = {}
        self.processes: list[subprocess.Popen] = []
        self.server: subprocess.Popen | None = None
        self.store = "memory"

    def port(self, shown: str) -> str:
        return self.ports.setdefault(shown, free_port())

    def localized(self, text: str) -> str:
        """The text with the ports that are in use."""
        return ADDRESS.sub(
            lambda match: (
                f"{match[1] or ''}{match[2]}{self.port(match[3])}"
                if match[1] or match[2] != ":"
                else match[0]
            ),
            text,
        )

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LARDER", "REDIS", "OTEL"))
        }
        address = f"127.0.0.1:{self.port(SERVER)}"
        return {
            **kept,
            "PATH": f"{self.tools}:{kept['PATH']}",
            "LARDER_LISTEN": address,
            "LARDER_ADDRESS": address,
            "NO_COLOR": "1",
        }

    def start(self, command: list[str]) -> subprocess.Popen:
        log = (self.folder / ".log").open("a")
        environment = self.environment()
        # The server takes its addresses from the flags.
        environment.pop("LARDER_LISTEN")
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_for(self, process: subprocess.Popen, port: str) -> None:
        if not until(lambda: is_listening(port) or process.poll() is not None):
            raise Fault(f"nothing listens on port {port} after {WAIT_SECONDS} s")
        if process.poll() is not None:
            raise Fault("a process ended:\n" + (self.folder / ".log").read_text())

    def run(self, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
        """Runs a command to its end, and returns its exit code and what it printed."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            stop(process)
            raise Fault(f"{command[-1]} does not end within {COMMAND_SECONDS} s") from None
        return process.returncode, output

    def start_redis(self) -> None:
        port = self.port(REDIS)
        command = ["redis-server", "--port", port, "--save", "", "--bind", "127.0.0.1"]
        process = self.start(command)
        self.processes.append(process)
        self.wait_for(process, port)
        self.store = f"redis://127.0.0.1:{port}"

    def start_server(self) -> None:
        """Starts the server, or starts it again with the file larder.toml."""
        if self.server is not None:
            stop(self.server)
        config = ["--config", "larder.toml"] if (self.folder / "larder.toml").exists() else []
        addresses = [
            f"--listen=127.0.0.1:{self.port(SERVER)}",
            f"--admin-listen=127.0.0.1:{self.port(ADMIN)}",
            f"--store={self.store}",
        ]
        self.server = self.start([self.larder, *config, *addresses])
        self.wait_for(self.server, self.port(SERVER))
        check = [self.larder, "healthcheck", "--address", f"127.0.0.1:{self.port(SERVER)}"]
        if not until(lambda: self.run(check, self.environment())[0] == 0):
            raise Fault(f"the server is not ready after {WAIT_SECONDS} s")

    def start_background(self, script: str) -> None:
        """Starts a script that does not end, and waits for its ports."""
        process = self.start(["bash", "-euc", self.localized(script)])
        self.processes.append(process)
        for match in ADDRESS.finditer(script):
            if match[2] != ":" or "listen" in script[max(0, match.start() - 20) : match.start()]:
                self.wait_for(process, self.port(match[3]))

    def stop_background(self) -> None:
        for process in self.processes:
            stop(process)
        self.processes = []

    def close(self) -> None:
        if self.server is not None:
            stop(self.server)
        self.stop_background()


def stop(process: subprocess.Popen) -> None:
    """Ends a process and those that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
