"""Values that are stored before they are asked for."""

from __future__ import annotations

from typing import Any

from .redis_cache import set_cache


async def warm_cache(key: str, value: Any, ttl: Any = None) -> bool:
    """Stores a value, by default for the time of its namespace. Whether it is stored."""
    return await set_cache(key, value, ttl)
