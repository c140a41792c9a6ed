"""The control program (`crates/client-control`): servers, faults and recorded calls."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[4]
CONFORMANCE = REPOSITORY / "clients" / "conformance"


def _program(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable) or REPOSITORY / "target" / "debug" / name)


def missing_programs() -> list[str]:
    """The programs that are not built, with the variables that name others."""
    wanted = {"LARDER_BIN": "larder", "LARDER_CLIENT_CONTROL": "client-control"}
    return [
        f"{_program(variable, name)} ({variable})"
        for variable, name in wanted.items()
        if not os.access(_program(variable, name), os.X_OK)
    ]


class Control:
    """A running control program, with one server."""

    def __init__(self, store: str = "memory") -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [_program("LARDER_CLIENT_CONTROL", "client-control")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addresses: dict[str, str] = self.do(
            "start",
            binary=str(_program("LARDER_BIN", "larder")),
            config=str(CONFORMANCE / "larder.toml"),
            store=store,
        )
        self._state = "start"

    def do(self, command: str, **arguments: Any) -> Any:
        """Runs a command, and returns its result."""
        with self._lock:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the control program has ended"}
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer["ok"]

    def clear(self) -> None:
        """Forgets calls, script and faults. The gateway has another port afterwards."""
        self.addresses = self.do("clear")

    def server(self, state: str) -> None:
        """Stops, starts, pauses or resumes the server."""
        self.do("server", state=state)
        self._state = state

    def restore(self) -> None:
        """The server runs again, whatever a case has done to it."""
        if self._state == "pause":
            self.server("resume")
        elif self._state == "stop":
            self.server("start")

    def close(self) -> None:
        """Ends the program, and with it the server."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
