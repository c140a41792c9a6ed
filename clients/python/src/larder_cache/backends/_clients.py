"""The clients that backends share: one per server and options, however many caches there are.

Frameworks make a cache object per alias, and Django even one per thread. Each of them must not
open connections of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from larder_cache import AsyncClient, Client, default_async_client, default_client

__all__ = ["shared_async_client", "shared_client"]

# Types whose text shows all that they hold, also if they cannot be hashed.
_PLAIN = (str, bytes, int, float, timedelta, tuple, list, dict, type(None))

_lock = threading.Lock()
_clients: dict[Any, Any] = {}


def shared_client(target: str | None, options: Mapping[str, Any]) -> Client:
    """Returns the client for a server: the default one without a target and options."""
    if target is None and not options:
        return default_client()
    client: Client = _shared(Client, target, options)
    return client


def shared_async_client(target: str | None, options: Mapping[str, Any]) -> AsyncClient:
    """Returns the asynchronous client for a server, as `shared_client` does."""
    if target is None and not options:
        return default_async_client()
    client: AsyncClient = _shared(AsyncClient, target, options)
    return client


def _shared(make: Callable[..., Any], target: str | None, options: Mapping[str, Any]) -> Any:
    key = (make, target, tuple(sorted((name, _identity(each)) for name, each in options.items())))
    with _lock:
        client = _clients.get(key)
        if client is None:
            client = _clients[key] = make(target, **options)
        return client


def _identity(option: Any) -> Any:
    """Equal for options that make the same client. Objects are equal if they are the same."""
    return repr(option) if isinstance(option, _PLAIN) else option
