"""multiprocessing and os.fork: the parent has used its client, and goes on with it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from larder_cache import AsyncClient, Client
from processes.support import for_each_fork_support, hangs, script, side_by_side


def check(facts: dict[str, Any]) -> None:
    """Each child read what the parent wrote, and its own."""
    assert len(facts["children"]) == 8
    for child in facts["children"]:
        assert child["pid"] != facts["parent"]
        assert child["parent"] == facts["parent"]
        assert child["own"] == child["fetched"] == child["pid"]


@pytest.mark.parametrize("kind", ["pool", "executor"])
def test_fork(target: str, kind: str) -> None:
    def case(fork_support: str | None) -> None:
        environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support}
        check(script("multi.py", target, "fork", kind, environment=environment))

    for_each_fork_support(case)


def test_other_start_methods(target: str) -> None:
    def case(method: str, kind: str) -> None:
        check(script("multi.py", target, method, kind))

    side_by_side(
        {
            f"{method} {kind}": partial(case, method, kind)
            for method in ("spawn", "forkserver")
            for kind in ("pool", "executor")
        }
    )


def test_forks_while_threads_are_in_calls(target: str) -> None:
    def case(fork_support: str | None) -> None:
        environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support}
        facts = script("forks_under_load.py", target, "20", environment=environment)
        assert facts["codes"] == [0] * 20
        assert facts["going_on"]
        # No read of the threads was degraded by a fork.
        assert facts["wrong"] == []

    for_each_fork_support(case)


@pytest.mark.parametrize("where", ["between-loops", "in-loop", "beside-loop"])
def test_asyncio(target: str, where: str) -> None:
    def case(fork_support: str | None) -> None:
        environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support}
        facts = script("asyncio_forks.py", target, where, environment=environment)
        assert facts["codes"] and not any(facts["codes"])
        # No read of the other tasks was degraded by a fork.
        assert facts["wrong"] == []

    for_each_fork_support(case)


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_channels_of_others(target: str, kind: str) -> None:
    """What gRPC cannot do in a child is an error there, and no hang."""

    def case(fork_support: str | None) -> None:
        environment = {"GRPC_ENABLE_FORK_SUPPORT": fork_support}
        code = script("others.py", target, kind, environment=environment, quiet=False)
        works = kind == "threads" and fork_support != "0"
        assert code == (0 if works else 1)

    for_each_fork_support(case)


@hangs
def test_naive_channel(target: str) -> None:
    environment = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
    script("multi_naive.py", target, limit=4, environment=environment, quiet=False)


@pytest.mark.parametrize("made", [Client, AsyncClient])
@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_copies_are_refused(made: Callable[[], Any], copied: Callable[[Any], Any]) -> None:
    client = made()
    for each in (client, client.namespace("users")):
        with pytest.raises(TypeError, match=f"(?s){type(each).__name__}.*process"):
            copied(each)
