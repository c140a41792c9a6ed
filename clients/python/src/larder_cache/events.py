"""Events of `watch`."""

from __future__ import annotations

from typing import NamedTuple, Union

from larder_cache.results import ListedKey

__all__ = [
    "Event",
    "KeysChanged",
    "NamespaceInvalidated",
    "PatternInvalidated",
    "Ready",
    "Reset",
    "TagsInvalidated",
]


class Ready(NamedTuple):
    """All changes arrive from now on. `resumed`: and all since the last event have arrived.

    `max_delay` and `heartbeat` are seconds.
    """

    resumed: bool
    max_delay: float
    heartbeat: float


class Reset(NamedTuple):
    """Changes may be missing until the next `Ready`. `reason` is such as `FEED_LOST`."""

    reason: str


class NamespaceInvalidated(NamedTuple):
    """All entries of the namespace are invalid."""

    namespace: str


class TagsInvalidated(NamedTuple):
    """Entries with any of the tags are invalid."""

    namespace: str
    tags: tuple[str, ...]


class PatternInvalidated(NamedTuple):
    """Entries whose key matches the pattern are invalid."""

    namespace: str
    glob: str


class KeysChanged(NamedTuple):
    """Entries were written or removed."""

    namespace: str
    keys: tuple[ListedKey, ...]


Event = Union[Ready, Reset, NamespaceInvalidated, TagsInvalidated, PatternInvalidated, KeysChanged]
"""An event of `watch`."""
