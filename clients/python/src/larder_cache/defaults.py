"""The clients of the process, for code that is handed none."""

from __future__ import annotations

import threading
from typing import Any

from larder_cache._transport.forks import on_fork
from larder_cache.aio import AsyncClient
from larder_cache.client import Client

__all__ = ["configure", "default_async_client", "default_client"]


class _Defaults:
    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.blocking: Client | None = None
        self.asyncio: AsyncClient | None = None
        self.lock = threading.Lock()
        on_fork(self)

    def before_fork(self) -> bool:
        """Nothing has to end."""
        return False

    def forked(self) -> Any:
        # The clients start again by themselves.
        self.lock = threading.Lock()
        return None


_defaults = _Defaults()


def configure(target: Any = None, **options: Any) -> None:
    """Sets the options of the default clients. They are those of `Client`.

    Clients that exist already stay open for those that hold them; the next call of
    `default_client` makes new ones.
    """
    # Options that are wrong raise here rather than at the first use.
    Client(target, **options).close()
    with _defaults.lock:
        _defaults.options = {"target": target, **options}
        _defaults.blocking = _defaults.asyncio = None


def default_client() -> Client:
    """The blocking client of the process. It is made at the first use."""
    client = _defaults.blocking
    if client is None or client.closed:
        with _defaults.lock:
            client = _defaults.blocking
            if client is None or client.closed:
                client = _defaults.blocking = Client(**_defaults.options)
    return client


def default_async_client() -> AsyncClient:
    """The asyncio client of the process. It is made at the first use."""
    client = _defaults.asyncio
    if client is None or client.closed:
        with _defaults.lock:
            client = _defaults.asyncio
            if client is None or client.closed:
                client = _defaults.asyncio = AsyncClient(**_defaults.options)
    return client
