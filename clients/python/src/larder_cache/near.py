"""The settings of a near cache."""

from __future__ import annotations

import dataclasses

__all__ = ["NearCache"]


@dataclasses.dataclass(frozen=True)
class NearCache:
    """Keeps values of a namespace in the process, least recently used first out.

    `max_bytes` bounds the stored form of the values and keys, `max_entries` their number. At most
    256 namespaces of a client have one; the others do without.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_entries: int = 10_000

    def __post_init__(self) -> None:
        if self.max_bytes <= 0 or self.max_entries <= 0:
            raise ValueError("max_bytes and max_entries must be positive")
