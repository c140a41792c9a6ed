"""Counters of a namespace, readable with and without OpenTelemetry."""

from __future__ import annotations

MAX_NAMESPACES = 1000
"""Namespaces that are counted by themselves; those beyond are counted under `OTHER`."""
OTHER = "_other"

NAMES = (
    "hits",
    "misses",
    "stale",
    "negatives",
    "near_hits",
    "loads",
    "load_errors",
    "joined",
    "fail_open",
    "fills_refused",
    "undecodable",
    "errors",
    "retries",
)


class Counters:
    """Numbers of events since the start of the client. Adding to them takes no lock."""

    __slots__ = NAMES

    hits: int
    misses: int
    stale: int
    negatives: int
    near_hits: int
    loads: int
    load_errors: int
    joined: int
    fail_open: int
    fills_refused: int
    undecodable: int
    errors: int
    retries: int

    def __init__(self) -> None:
        for name in NAMES:
            setattr(self, name, 0)

    def as_dict(self) -> dict[str, int]:
        """All counters by name."""
        return {name: getattr(self, name) for name in NAMES}

    def add(self, other: Counters) -> None:
        """Adds the numbers of another."""
        for name in NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def counters_in(table: dict[str, Counters], namespace: str) -> Counters:
    """The counters of a namespace in a table, which has a bound."""
    found = table.get(namespace)
    if found is None:
        name = namespace if len(table) < MAX_NAMESPACES else OTHER
        found = table.setdefault(name, Counters())
    return found
