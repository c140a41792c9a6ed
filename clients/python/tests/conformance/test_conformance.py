"""The conformance cases, each on the blocking client, the client for asyncio and the fake.

`LARDER_BIN` and `LARDER_CLIENT_CONTROL` name the programs, and `LARDER_CONFORMANCE_STORE` the
store, `memory` or `redis`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from .callers import Tasks, Threads
from .control import CONFORMANCE, Control, missing_programs
from .runner import CaseRun, RealServer

SUITE = json.loads((CONFORMANCE / "suite.json").read_text(encoding="utf-8"))
CALLERS: dict[str, Any] = {"threads": Threads, "asyncio": Tasks}


def _skips() -> dict[str, str]:
    """Reasons by the name of a test, such as `threads/ttl/zero`; `*` is every kind of client."""
    lines = (CONFORMANCE / "skips" / "python.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return {name: reason.strip() for name, _, reason in entries}


SKIPS = _skips()


@pytest.fixture(scope="session", params=CALLERS)
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of client. Each has a server of its own."""
    return str(request.param)


@pytest.fixture(scope="session")
def control(kind: str) -> Iterator[Control]:
    """The control program of a kind of client."""
    missing = missing_programs()
    if missing:
        message = f"not built: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    control = Control(os.environ.get("LARDER_CONFORMANCE_STORE", "memory"))
    yield control
    control.close()


def _applies(case: dict[str, Any], kind: str) -> bool:
    return set(case.get("needs", ())) <= CALLERS[kind].features | RealServer.features


@pytest.mark.parametrize("case", SUITE["cases"], ids=[case["id"] for case in SUITE["cases"]])
def test_case(case: dict[str, Any], kind: str, control: Control) -> None:
    """A case passes, or is in the list of skips and fails."""
    if not _applies(case, kind):
        pytest.skip("this kind of client lacks a feature that the case needs")
    server = RealServer(control)
    server.prepare(case.get("needs", []))
    reason = SKIPS.get(f"{kind}/{case['id']}") or SKIPS.get(f"*/{case['id']}")

    async def run() -> None:
        await CaseRun(case, CALLERS[kind](), server).run()

    if reason is None:
        asyncio.run(run())
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
        assert skip.partition("/")[2] in names, f"no case of the skip {skip}"
        assert reason, f"the skip {skip} has no reason"
