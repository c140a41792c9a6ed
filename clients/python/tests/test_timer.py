"""The thread for small work that repeats."""

from __future__ import annotations

import logging
import threading

import pytest

from larder_cache._engine.timer import Timer


def test_a_thread_that_cannot_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Work that needs the timer goes on without it, and the next entry tries again."""
    done = [threading.Event(), threading.Event()]

    async def first() -> None:
        done[0].set()

    async def second() -> None:
        done[1].set()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    timer = Timer()
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "larder_cache"):
        patched.setattr(threading.Thread, "start", refuse)
        timer.every(0.0, first)
    assert "cannot start" in caplog.text and not done[0].is_set()
    timer.every(0.0, second)
    assert all(each.wait(10) for each in done)
    timer.close()
