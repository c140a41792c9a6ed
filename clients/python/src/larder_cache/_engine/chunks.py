"""Batches that a server takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

BATCH = 1000
# A message of the server has at most 4 MiB by default.
_BYTES = 3 * 1024 * 1024


def chunks(items: list[Any], size_of: Callable[[Any], int]) -> Iterable[list[Any]]:
    """Lists of at most 1,000 items that together fit into a message of 3 MiB."""
    chunk: list[Any] = []
    total = 0
    for item in items:
        size = size_of(item)
        if chunk and (len(chunk) == BATCH or total + size > _BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += size
    if chunk:
        yield chunk
