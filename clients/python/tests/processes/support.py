"""Programs that run with a time limit, and what they print."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

SCRIPTS = Path(__file__).parent / "scripts"
# The machine may be busy: limits are wide, for only a hang reaches them.
LIMIT = 90.0

T = TypeVar("T")


class Hang(AssertionError):
    """A program did not end, or did not answer, in its time."""


hangs = pytest.mark.xfail(raises=Hang, strict=True, reason="a channel that was used before a fork")


def needs(module: str) -> None:
    """Skips the test if a module is not installed; in CI that is a failure."""
    if importlib.util.find_spec(module) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{module} is not installed: see processes/requirements.txt")
        pytest.skip(f"{module} is not installed")


def environment_for(target: str, more: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The environment of a program. A variable that is None is removed."""
    values = {k: v for k, v in os.environ.items() if not k.startswith(("LARDER_", "GRPC_"))}
    values["LARDER_ENDPOINT"] = target
    values["PYTHONPATH"] = str(SCRIPTS)
    values["PYTHONFAULTHANDLER"] = "1"
    values["PYTHONUNBUFFERED"] = "1"
    for name, value in (more or {}).items():
        if value is None:
            values.pop(name, None)
        else:
            values[name] = value
    return values


class Program:
    """A program in a process group of its own. All of the group ends with it."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self.out = tempfile.TemporaryFile(mode="w+")
        self.err = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=SCRIPTS,
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=self.err,
            start_new_session=True,
        )

    @staticmethod
    def _text(file: Any) -> str:
        return os.pread(file.fileno(), 10_000_000, 0).decode(errors="replace")

    @property
    def output(self) -> str:
        """The standard output so far."""
        return self._text(self.out)

    @property
    def errors(self) -> str:
        """The standard error so far."""
        return self._text(self.err)

    def wait(self, limit: float = LIMIT) -> int:
        """The exit code. Raises `Hang`."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGABRT)  # faulthandler writes where each thread is
            time.sleep(0.5)
            self._signal(signal.SIGKILL)
            raise Hang(f"no end within {limit:g} s:\n{self.output}\n{self.errors}") from None

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def stop(self, limit: float = 20.0) -> int:
        """Ends the program in an orderly way. Raises `Hang`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(limit)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.out.close()
        self.err.close()


def script(
    name: str,
    target: str,
    *arguments: str,
    limit: float = LIMIT,
    environment: Mapping[str, str | None] | None = None,
    code: int = 0,
    quiet: bool = True,
) -> Any:
    """Runs a script and returns the JSON of its last line. `quiet`: stderr must be empty."""
    command = [sys.executable, str(SCRIPTS / name), *arguments]
    with Program(command, environment_for(target, environment)) as program:
        found = program.wait(limit)
        output, errors = program.output, program.errors
    assert found == code, f"exit code {found}:\n{output}\n{errors}"
    if quiet:
        assert errors == "", errors
    lines = output.splitlines()
    return json.loads(lines[-1]) if lines else None


def side_by_side(cases: Mapping[str, Callable[[], object]], at_once: int = 4) -> None:
    """Runs cases in threads, for they wait for their programs. Fails with the problems of all."""
    problems = []
    with ThreadPoolExecutor(at_once) as pool:
        running = {name: pool.submit(case) for name, case in cases.items()}
        for name, case in running.items():
            error = case.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            if error is not None:
                problems.append("".join([f"{name}: ", *traceback.format_exception(error)]))
    assert not problems, "\n".join(problems)


FORK_SUPPORT = (None, "0", "1")


def for_each_fork_support(case: Callable[[str | None], object]) -> None:
    """Runs a case with each value of `GRPC_ENABLE_FORK_SUPPORT`."""
    side_by_side({f"fork support {each}": partial(case, each) for each in FORK_SUPPORT})


def until(check: Callable[[], T | None], problem: str, limit: float = 30.0) -> T:
    """The first true result of the check. Fails after the limit."""
    deadline = time.monotonic() + limit
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {limit:g} s: {problem}"
        time.sleep(0.05)


def request(url: str, limit: float = 30.0) -> Any:
    """The JSON that a URL answers with. Raises `Hang` if no answer comes."""
    try:
        with urllib.request.urlopen(url, timeout=limit) as answer:
            return json.load(answer)
    except TimeoutError:
        raise Hang(f"no answer from {url} within {limit:g} s") from None
