"""The environment variables of the replaced modules.

They are read at each use, not at import, so that tests and late configuration count. The address
of the cache is not among them: it is that of `larder_cache.configure`, else `LARDER_ENDPOINT`.
"""

from __future__ import annotations

import os

#: The TTLs of the namespaces in seconds, for calls that give none.
REDIS_CACHE_TTL_CONFIG: dict[str, int] = {
    "user": 3600,
    "pickup": 300,
    "points": 300,
    "company": 7200,
    "locations": 86400,
    "statistics": 1800,
    "general": 1800,
}

#: The namespace of keys without a colon, and of TTLs that are not in the table.
GENERAL = "general"

_PRESETS = {"SHORT": 60, "MEDIUM": 300, "LONG": 3600, "DAY": 86400}


def is_on(variable: str, default: bool) -> bool:
    """Whether a variable is ``true``; the default if it is not set."""
    value = os.environ.get(variable)
    return default if value is None else value.strip().lower() == "true"


def is_enabled(*, default: bool) -> bool:
    """Whether caching is on: neither REDIS_ENABLED nor REDIS_CACHE_ENABLED switches it off.

    ``default`` is that of REDIS_ENABLED, which differs between the replaced modules.
    """
    return is_on("REDIS_ENABLED", default) and is_on("REDIS_CACHE_ENABLED", True)


def key_prefix() -> str:
    """The first part of keys, which is left out (REDIS_CACHE_KEY_PREFIX, by default ``cache``)."""
    return os.environ.get("REDIS_CACHE_KEY_PREFIX", "cache")


def ttl_of(namespace: str) -> int:
    """The TTL of a namespace in seconds, by the table."""
    return REDIS_CACHE_TTL_CONFIG.get(namespace, REDIS_CACHE_TTL_CONFIG[GENERAL])


def ttl_preset(name: str) -> int:
    """The seconds of CACHE_TTL_SHORT, _MEDIUM, _LONG or _DAY. Raises ValueError for no number."""
    variable = f"CACHE_TTL_{name}"
    value = os.environ.get(variable)
    if value is None:
        return _PRESETS[name]
    if not value.strip().isdecimal() or int(value) == 0:
        raise ValueError(f"{variable} must be a number of seconds, not {value!r}")
    return int(value)
