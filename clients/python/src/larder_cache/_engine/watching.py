"""The iterators of `watch`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from larder_cache._engine.feeds import (
    Feed,
    Heartbeat,
    read_asyncio,
    read_blocking,
)
from larder_cache._engine.handle import Handle
from larder_cache._engine.streams import BlockingStream
from larder_cache.errors import ClientClosed
from larder_cache.events import Event


def watch_blocking(handle: Handle, keys: bool) -> Iterator[Event]:
    """The changes in a namespace."""
    _check(handle)
    stream = BlockingStream()
    try:
        for event in read_blocking(Feed(handle.engine, handle.name, keys), stream):
            if not isinstance(event, Heartbeat):
                yield event
    finally:
        stream.close()


async def watch_asyncio(handle: Handle, keys: bool) -> AsyncIterator[Event]:
    """The changes in a namespace."""
    _check(handle)
    events = read_asyncio(Feed(handle.engine, handle.name, keys))
    try:
        async for event in events:
            if not isinstance(event, Heartbeat):
                yield event
    finally:
        await events.aclose()  # type: ignore[attr-defined]


def _check(handle: Handle) -> None:
    if handle.engine.io.closed:
        raise ClientClosed("the client is closed")
