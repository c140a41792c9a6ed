"""The feed of changes: events of Watch, connected again when a stream ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from larder_cache._engine.handle import Handle
from larder_cache.events import Event


def watch_blocking(handle: Handle, keys: bool) -> Iterator[Event]:
    raise NotImplementedError


def watch_asyncio(handle: Handle, keys: bool) -> AsyncIterator[Event]:
    raise NotImplementedError
