"""gunicorn --preload: the workers are forked from a master that has used its client."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from processes.support import (
    Program,
    environment_for,
    for_each_fork_support,
    hangs,
    needs,
    request,
    until,
)

WORKERS = 3


@contextmanager
def gunicorn(
    target: str, application: str, fork_support: str | None, *options: str
) -> Iterator[tuple[Program, str]]:
    """The running server and its URL."""
    needs("gunicorn")
    needs("gevent")
    environment = environment_for(target, {"GRPC_ENABLE_FORK_SUPPORT": fork_support})
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS)]
    command += ["--bind", "127.0.0.1:0", "--timeout", "60", "--graceful-timeout", "5"]
    with Program([*command, *options, application], environment) as program:

        def listening() -> str | None:
            assert program.process.poll() is None, program.errors
            found = re.search(r"Listening at: (http://127.0.0.1:\d+)", program.errors)
            return found and found.group(1)

        yield program, until(listening, "gunicorn listens", 60)


def answers(url: str, enough: set[int] | None = None) -> dict[int, Any]:
    """Answers by worker, until there is one of each."""
    found: dict[int, Any] = {}

    def all_seen() -> bool:
        with ThreadPoolExecutor(6) as pool:
            for facts in pool.map(request, [url] * 6):
                found[facts["pid"]] = facts
        return len(found) >= WORKERS and not (enough and set(found) <= enough)

    until(all_seen, "every worker has answered", 40)
    return found


def check(facts: dict[str, Any], master: int) -> None:
    """The answer of a worker is right."""
    pid = facts["pid"]
    assert facts["master"] == master
    assert facts["own"] == facts["fetched"] == pid
    assert facts["many"] == 2
    assert facts["slow"] in (master, -1)
    assert facts["near"] == "kept"


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_workers_and_master_have_connections_of_their_own(target: str, worker_class: str) -> None:
    for_each_fork_support(lambda fork_support: check_workers(target, fork_support, worker_class))


def check_workers(target: str, fork_support: str | None, worker_class: str) -> None:
    """Each worker answers, also one that replaces another."""
    config = "gunicorn_gevent_conf.py" if worker_class == "gevent" else "gunicorn_conf.py"
    options = ("--config", config, "--worker-class", worker_class)
    with gunicorn(target, "wsgi:application", fork_support, *options) as (program, url):
        master = program.process.pid
        found = answers(url)
        for facts in found.values():
            check(facts, master)
        before = max(int(facts["forks"]) for facts in found.values())

        # The near cache of a worker has a feed of its own.
        until(lambda: request(url)["near_tier"] == "client", "a near cache is in use")

        # The master forks again, and its client still works.
        os.kill(next(iter(found)), signal.SIGTERM)
        replaced = answers(url, enough=set(found))
        for facts in replaced.values():
            check(facts, master)
        assert max(int(facts["forks"]) for facts in replaced.values()) == before + 1
        assert program.stop() == 0
        assert "Traceback" not in program.errors, program.errors


@hangs
def test_naive_channel(target: str) -> None:
    with gunicorn(target, "wsgi_naive:application", "0") as (_, url):
        for _ in range(6):
            request(url, limit=3)
