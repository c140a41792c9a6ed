"""Whether answers are as new as they must be.

Every change returns the revision of what it changed. A read that begins after the answer to a change
must show that revision or a later one, from whichever service.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

#: Such as ("user", 7) or ("pickups", 7, 3).
Subject = tuple[Any, ...]


class Shows(NamedTuple):
    """A field of an answer that has the revision of a subject."""

    subject: Subject
    field: str = "revision"


class Revisions:
    """The revisions of all changes that were answered."""

    def __init__(self) -> None:
        self._answered: defaultdict[Subject, int] = defaultdict(int)

    def answered(self, subject: Subject, revision: int) -> None:
        """A change was answered with this revision."""
        self._answered[subject] = max(self._answered[subject], revision)

    def required(self, shows: tuple[Shows, ...]) -> list[int]:
        """The oldest revisions that a read may show that begins now."""
        return [self._answered[item.subject] for item in shows]

    def of_kind(self, kind: str) -> dict[Subject, int]:
        """The revisions of all subjects of a kind that have changed."""
        return {s: r for s, r in self._answered.items() if s[0] == kind and r > 0}


def staleness(shows: tuple[Shows, ...], required: list[int], document: Any) -> str | None:
    """How an answer is older than it may be, or None."""
    for item, oldest in zip(shows, required, strict=True):
        shown = document[item.field]
        if shown < oldest:
            return f"{item.subject} has revision {shown}, but {oldest} was answered before"
    return None
