"""A warning for values that cannot be stored: the cache would never have them."""

from __future__ import annotations

import logging
from typing import Any

from larder_cache.results import NotStored, Result

log = logging.getLogger("larder_cache")


class UnstoredLog:
    """Logs the first value of a function that could not be stored."""

    __slots__ = ("_is_logged", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_logged = False

    def note(self, result: Result[Any]) -> None:
        """Looks at the result of a fill."""
        stored = result.stored
        if self._is_logged or not isinstance(stored, NotStored):
            return
        if stored.reason == "NOT_ENCODABLE":
            self._is_logged = True
            log.warning("a value of %s cannot be stored: %s", self._name, stored.error)
