"""TTLs that follow how often a document changes."""

from __future__ import annotations

import json
from typing import Any


class AdaptiveTtl:
    """Doubles the TTL each time that a new document is the old one, and halves it otherwise."""

    def __init__(self, *, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self._ttl = least
        self._last: int | None = None

    def __call__(self, request: Any, result: Any) -> float:
        """The TTL of a result, in seconds."""
        digest = hash(json.dumps(result, sort_keys=True))
        if self._last is not None:
            factor = 2.0 if digest == self._last else 0.5
            self._ttl = min(self._most, max(self._least, self._ttl * factor))
        self._last = digest
        return self._ttl
