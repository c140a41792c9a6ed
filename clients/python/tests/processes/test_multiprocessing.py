"""multiprocessing and os.fork: the parent has used its client, and goes on with it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from larder_cache import AsyncClient, Client
from processes.support import hangs, script

FORK_SUPPORT = [None, "0", "1"]


def check(facts: dict[str, Any]) -> None:
    """Each child read what the parent wrote, and its own."""
    assert len(facts["children"]) == 8
    for child in facts["children"]:
        assert child["pid"] != facts["parent"]
        assert child["parent"] == facts["parent"]
        assert child["own"] == child["fetched"] == child["pid"]


@pytest.mark.parametrize("kind", ["pool", "executor"])
@pytest.mark.parametrize("fork_support", FORK_SUPPORT)
def test_fork(target: str, fork_support: str | None, kind: str) -> None:
    environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support}
    check(script("multi.py", target, "fork", kind, environment=environment, limit=30))


@pytest.mark.parametrize("kind", ["pool", "executor"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(target: str, method: str, kind: str) -> None:
    check(script("multi.py", target, method, kind))


@pytest.mark.parametrize("fork_support", FORK_SUPPORT)
def test_forks_while_threads_are_in_calls(target: str, fork_support: str | None) -> None:
    environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support}
    facts = script(
        "forks_under_load.py", target, "20", environment=environment, limit=45, quiet=False
    )
    assert facts["codes"] == [0] * 20
    assert facts["going_on"]
    # No read of the threads was degraded by a fork.
    assert facts["wrong"] == []


@pytest.mark.parametrize("where", ["between-loops", "in-loop", "beside-loop"])
@pytest.mark.parametrize("fork_support", FORK_SUPPORT)
def test_asyncio(target: str, fork_support: str | None, where: str) -> None:
    environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support}
    facts = script("asyncio_forks.py", target, where, environment=environment, limit=60)
    assert facts["codes"] and not any(facts["codes"])
    # No read of the other tasks was degraded by a fork.
    assert facts["wrong"] == []


@hangs
def test_naive_channel(target: str) -> None:
    environment = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
    script("multi_naive.py", target, limit=8, environment=environment, quiet=False)


@pytest.mark.parametrize("made", [Client, AsyncClient])
@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_copies_are_refused(made: Callable[[], Any], copied: Callable[[Any], Any]) -> None:
    client = made()
    for each in (client, client.namespace("users")):
        with pytest.raises(TypeError, match=f"(?s){type(each).__name__}.*process"):
            copied(each)
