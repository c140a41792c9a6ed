"""Whether answers are as new as they must be.

Every change returns the revision of what it changed. A read that begins after the answer to a
change must show that revision or a later one, from whichever service.

While Redis is away, requests of a process for one key share a query, and nothing can end the
sharing across processes. A read that begins within a query may then show the row as it was when
the query began. Such answers are counted apart: see `Answer.is_shared`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any, NamedTuple

#: Such as ("user", 7) or ("pickups", 7, 3).
Subject = tuple[Any, ...]


class Shows(NamedTuple):
    """A field of an answer that has the revision of a subject."""

    subject: Subject
    field: str = "revision"


class Staleness(NamedTuple):
    """How an answer is older than it may be."""

    text: str
    #: When the first change was answered that it does not show.
    since: float


class Revisions:
    """The revisions of all changes that were answered."""

    def __init__(self) -> None:
        self._answered: defaultdict[Subject, int] = defaultdict(int)
        #: When each revision was answered.
        self._moments: dict[tuple[Subject, int], float] = {}

    def answered(self, subject: Subject, revision: int) -> None:
        """A change was answered with this revision."""
        self._answered[subject] = max(self._answered[subject], revision)
        self._moments.setdefault((subject, revision), time.time())

    def required(self, shows: tuple[Shows, ...]) -> list[int]:
        """The oldest revisions that a read may show that begins now."""
        return [self._answered[item.subject] for item in shows]

    def of_kind(self, kind: str) -> dict[Subject, int]:
        """The revisions of all subjects of a kind that have changed."""
        return {s: r for s, r in self._answered.items() if s[0] == kind and r > 0}

    def staleness(
        self, shows: tuple[Shows, ...], required: list[int], document: Any
    ) -> Staleness | None:
        """How an answer is older than it may be, or None."""
        for item, oldest in zip(shows, required, strict=True):
            shown = document[item.field]
            if shown < oldest:
                # The first change that it misses is the one that was answered first.
                missed = [(item.subject, revision) for revision in range(shown + 1, oldest + 1)]
                since = min(self._moments[each] for each in missed if each in self._moments)
                text = f"{item.subject} has revision {shown}, but {oldest} was answered before"
                return Staleness(text, since)
        return None
