"""Celery's prefork pool: its processes are forked from a worker that has used its client."""

from __future__ import annotations

import sys
from pathlib import Path

from processes.support import Program, environment_for, for_each_fork_support, needs, script, until

TASKS = 20


def test_prefork_pool(target: str, tmp_path: Path) -> None:
    needs("celery")

    def case(fork_support: str | None) -> None:
        folder = tmp_path / str(fork_support)
        folder.mkdir()
        check_prefork_pool(target, folder, fork_support)

    for_each_fork_support(case)


def check_prefork_pool(target: str, tmp_path: Path, fork_support: str | None) -> None:
    """All tasks end, in processes that the worker has forked."""
    for folder in ("queue", "results", "control"):
        (tmp_path / folder).mkdir()
    settings = {"CELERY_FOLDER": str(tmp_path), "GRPC_ENABLE_FORK_SUPPORT": fork_support}
    command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker"]
    command += ["--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO"]
    command += ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    with Program(command, environment_for(target, settings)) as worker:
        until(lambda: "ready." in worker.errors, "the worker is ready", 60)
        results = script("celery_send.py", target, str(TASKS), environment=settings, quiet=False)
        assert worker.stop() == 0
    assert [each["value"] for each in results] == [(n % 5) ** 2 for n in range(TASKS)]
    # Each task counted once, and all of them in processes that the worker has forked.
    assert sorted(each["runs"] for each in results) == list(range(1, TASKS + 1))
    assert {each["imported"] for each in results} == {worker.process.pid}
    assert {each["parent"] for each in results} == {worker.process.pid}
    assert worker.process.pid not in {each["pid"] for each in results}
