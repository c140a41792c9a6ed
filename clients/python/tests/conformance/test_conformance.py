"""The conformance cases, each on the blocking client, the client for asyncio and the fake.

`LARDER_BIN` and `LARDER_CLIENT_CONTROL` name the programs, and `LARDER_CONFORMANCE_STORE` the
store, `memory` or `redis`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .callers import Tasks, Threads
from .control import CONFORMANCE, Control, missing_programs
from .fake_server import FakeServer
from .runner import CaseRun, RealServer

SUITE = json.loads((CONFORMANCE / "suite.json").read_text(encoding="utf-8"))
CALLERS: dict[str, Any] = {"threads": Threads, "asyncio": Tasks}
# Kinds of tests: a client, on the real server or on the fake.
KINDS = ("threads", "asyncio", "fake-threads", "fake-asyncio")


def _caller(kind: str) -> Any:
    return CALLERS[kind.removeprefix("fake-")]


def _features(kind: str) -> frozenset[str]:
    server = FakeServer if kind.startswith("fake-") else RealServer
    return frozenset(_caller(kind).features | server.features)


def _skips() -> dict[str, str]:
    """Reasons by the name of a test, such as `threads/ttl/zero`; `*` is every kind."""
    lines = (CONFORMANCE / "skips" / "python.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return {name: reason.strip() for name, _, reason in entries}


SKIPS = _skips()
# A case that needs a feature that a kind lacks is no test of that kind.
TESTS = [
    pytest.param(kind, case, id=f"{kind}-{case['id']}")
    for kind in KINDS
    for case in SUITE["cases"]
    if set(case["needs"]) <= _features(kind)
]


@pytest.fixture(scope="module")
def controls() -> Iterator[Callable[[str], Control]]:
    """Control programs, one for each kind of client, so that none reads keys of another."""
    running: dict[str, Control] = {}

    def get(kind: str) -> Control:
        missing = missing_programs()
        if missing:
            message = f"not built: {', '.join(missing)}"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        if kind not in running:
            running[kind] = Control(os.environ.get("LARDER_CONFORMANCE_STORE", "memory"))
        return running[kind]

    yield get
    for control in running.values():
        control.close()


def _report(passed: str) -> None:
    """Notes a case that passed, for the table in docs/clients.md."""
    folder = os.environ.get("LARDER_CONFORMANCE_REPORT")
    if folder:
        with open(os.path.join(folder, "python.txt"), "a", encoding="utf-8") as report:
            report.write(passed + "\n")


@pytest.mark.parametrize(("kind", "case"), TESTS)
def test_case(kind: str, case: dict[str, Any], controls: Callable[[str], Control]) -> None:
    """A case passes, or is in the list of skips and fails."""
    if kind.startswith("fake-"):
        server: Any = FakeServer(SUITE["configuration"], SUITE["events"])
    else:
        server = RealServer(controls(kind))
        server.prepare(case["needs"])
    reason = SKIPS.get(f"{kind}/{case['id']}") or SKIPS.get(f"*/{case['id']}")

    async def run() -> None:
        await CaseRun(case, _caller(kind)(), server).run()

    if reason is None:
        asyncio.run(run())
        _report(f"{kind}/{case['id']}")
        return
    try:
        asyncio.run(run())
    except Exception:
        pytest.skip(reason)
    pytest.fail(f"the case passes: remove it from the skips ({reason})")


def test_skips_name_cases() -> None:
    """No skip is for a case that is not there, and each has a reason."""
    names = {case["id"] for case in SUITE["cases"]}
    for skip, reason in SKIPS.items():
        kind, _, case = skip.partition("/")
        assert kind in (*KINDS, "*"), f"no kind of the skip {skip}"
        assert case in names, f"no case of the skip {skip}"
        assert reason, f"the skip {skip} has no reason"
