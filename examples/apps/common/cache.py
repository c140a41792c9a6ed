"""The namespaces that all services share, for threads and for asyncio.

A user, a company and the points of a user have the same namespace, key and JSON in every service,
so that one query serves all of them:

| namespace | key               | document         |
|-----------|-------------------|------------------|
| `user`    | `{id}:account`    | the account      |
| `user`    | `{id}:profile`    | the profile      |
| `points`  | `{id}:balance`    | the points       |
| `company` | `{id}:profile`    | the company      |
| `company` | `list`            | all companies    |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from larder_cache import (
    AsyncNamespace,
    Namespace,
    configure,
    default_async_client,
    default_client,
)

from . import settings

# Changes must not fail because an invalidation takes a while. Reads have limits of their own.
configure(call_timeout="2s")

#: Names of the entries of a user and of a company.
ACCOUNT, PROFILE, BALANCE = "{}:account", "{}:profile", "{}:balance"

#: `Cache-Control` of answers that are invalidated: browsers ask each time, and the ETag makes it a
#: 304.
REVALIDATED = "private, no-cache"


class Read(NamedTuple):
    """A document, and where it came from: the value of the header `X-Cache`."""

    document: Any
    x_cache: str


async def read_async(name: str, key: str, query: Callable[[], Awaitable[Any]]) -> Read:
    """Reads an entry of a namespace. If it is missing, one query in the whole fleet makes it."""
    if not settings.CACHE_ENABLED:
        return Read(await query(), "BYPASS")
    result = await async_namespace(name).get_or_fetch(key, query)
    return Read(result.value, "MISS" if result.tier == "loader" else result.outcome)


def read(name: str, key: str, query: Callable[[], Any]) -> Read:
    """`read_async` for threads."""
    if not settings.CACHE_ENABLED:
        return Read(query(), "BYPASS")
    result = namespace(name).get_or_fetch(key, query)
    return Read(result.value, "MISS" if result.tier == "loader" else result.outcome)


def async_namespace(name: str) -> AsyncNamespace[Any]:
    """A namespace. Its TTL is in the configuration of the fleet: see `larder.toml`."""
    return default_async_client().namespace(name)


def namespace(name: str) -> Namespace[Any]:
    """`async_namespace` for threads."""
    return default_client().namespace(name)
