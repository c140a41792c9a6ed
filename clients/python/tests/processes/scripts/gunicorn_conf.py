"""Hooks of gunicorn: the master goes on with its client."""

from __future__ import annotations

from typing import Any


def pre_fork(server: Any, worker: Any) -> None:
    """Before each fork."""
    import wsgi

    wsgi.pre_fork(server, worker)


def when_ready(server: Any) -> None:
    """Before the first fork."""
    import wsgi

    wsgi.when_ready(server)
