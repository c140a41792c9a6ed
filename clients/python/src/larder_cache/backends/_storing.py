"""Writes of backends: a value that is too large is not stored, and nothing else is lost.

Frameworks store whatever a program computes. A page or an answer over the limit of the server must
still reach its user, and the value before it must not stay in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from larder_cache import NotStored, ResourceExhausted, Stored

__all__ = ["astore", "astore_many", "store", "store_many"]

logger = logging.getLogger(__name__)

_TOO_LARGE = ("VALUE_TOO_LARGE", "MESSAGE_TOO_LARGE")


def store(
    namespace: Any, key: str, value: Any, ttl: Any, *, if_absent: bool = False
) -> Stored | NotStored:
    """Stores a value as `Namespace.set` does. One that is too large deletes the entry.

    With `on_error="raise"` a value that is too large raises.
    """
    try:
        done: Stored | NotStored = namespace.set(key, value, ttl=ttl, if_absent=if_absent)
    except ResourceExhausted as error:
        done = _refused(namespace, error)
    if _is_too_large(done, key) and not if_absent:
        namespace.delete(key)
    return done


async def astore(
    namespace: Any, key: str, value: Any, ttl: Any, *, if_absent: bool = False
) -> Stored | NotStored:
    """`store` on an asynchronous namespace."""
    try:
        done: Stored | NotStored = await namespace.set(key, value, ttl=ttl, if_absent=if_absent)
    except ResourceExhausted as error:
        done = _refused(namespace, error)
    if _is_too_large(done, key) and not if_absent:
        await namespace.delete(key)
    return done


def store_many(namespace: Any, items: Mapping[str, Any], ttl: Any) -> dict[str, Stored | NotStored]:
    """Stores values as `Namespace.set_many` does, except those that are too large."""
    try:
        results: dict[str, Stored | NotStored] = namespace.set_many(items, ttl=ttl)
    except ResourceExhausted as error:
        # The server refuses the batch as a whole.
        _refused(namespace, error)
        return {key: store(namespace, key, value, ttl) for key, value in items.items()}
    large = [key for key, done in results.items() if _is_too_large(done, key)]
    namespace.delete_many(large)
    return results


async def astore_many(
    namespace: Any, items: Mapping[str, Any], ttl: Any
) -> dict[str, Stored | NotStored]:
    """`store_many` on an asynchronous namespace."""
    try:
        results: dict[str, Stored | NotStored] = await namespace.set_many(items, ttl=ttl)
    except ResourceExhausted as error:
        _refused(namespace, error)
        return {key: await astore(namespace, key, value, ttl) for key, value in items.items()}
    large = [key for key, done in results.items() if _is_too_large(done, key)]
    await namespace.delete_many(large)
    return results


def _refused(namespace: Any, error: ResourceExhausted) -> NotStored:
    """The result for a value that is too large; other errors are raised again."""
    if error.reason not in _TOO_LARGE or not namespace._handle.opens:
        raise error
    return NotStored("NOT_STORED", False, error)


def _is_too_large(done: Stored | NotStored, key: str) -> bool:
    if isinstance(done, Stored) or getattr(done.error, "reason", "") not in _TOO_LARGE:
        return False
    logger.warning("the value of %r is not stored: %s", key, done.error)
    return True
