"""What the fleet counts."""

from __future__ import annotations

from typing import Any, NamedTuple


class FleetStats(NamedTuple):
    """A namespace, as all replicas together count it since the start."""

    namespace: str
    reads: int
    #: None without reads.
    hit_rate: float | None
    #: Reads that waited for a value that another caller computed.
    waited: int
    #: Values that were not stored, because they might have been outdated.
    refused: int

    @classmethod
    def of(cls, stats: Any) -> FleetStats:
        """The figures of a NamespaceStats."""
        counted = stats.counted.total
        cached = counted.hits + counted.stale + counted.negative
        return cls(
            stats.namespace,
            cached + counted.misses,
            counted.hit_rate if counted.HasField("hit_rate") else None,
            counted.fetches_coalesced,
            counted.fills_lost + counted.fills_invalidated + counted.fills_superseded,
        )
