"""Events of `watch`, collected beside the steps of a case."""

from __future__ import annotations

import asyncio
from typing import Any

from larder_cache import LarderError
from larder_cache.events import (
    Event,
    KeysChanged,
    NamespaceInvalidated,
    PatternInvalidated,
    Ready,
    Reset,
    TagsInvalidated,
)

_NAMES = {
    Ready: "ready",
    Reset: "reset",
    NamespaceInvalidated: "namespace",
    TagsInvalidated: "tags",
    PatternInvalidated: "pattern",
    KeysChanged: "keys",
}
# Seconds that an iterator may take to end after the close of its client.
_END = 0.2


def _as_data(event: Event) -> dict[str, Any]:
    data = {**event._asdict(), "event": _NAMES[type(event)]}
    if isinstance(event, KeysChanged):
        data["keys"] = [listed.key for listed in event.keys]
    if isinstance(event, TagsInvalidated):
        data["tags"] = list(event.tags)
    return data


class Watching:
    """One iterator of changes."""

    def __init__(self, caller: Any, namespace: Any) -> None:
        self._caller = caller
        self._namespace = namespace
        self._task: asyncio.Task[None] | None = None
        self.events: list[dict[str, Any]] = []

    def begin(self, args: dict[str, Any]) -> None:
        """Begins to read."""
        self._task = asyncio.ensure_future(self._read(args))

    async def _read(self, args: dict[str, Any]) -> None:
        def add(event: Event) -> None:
            self.events.append(_as_data(event))

        try:
            await self._caller.watch(self._namespace, args, add)
        except LarderError:
            # The end by `close` may be an error.
            return

    @property
    def ended(self) -> bool:
        """Whether the iterator has ended."""
        return self._task is not None and self._task.done()

    async def end(self) -> None:
        """Ends it, if the close of the client has not."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_END)
            self._task.cancel()
