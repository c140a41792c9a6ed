"""Errors of the decorators."""

from __future__ import annotations

from larder_cache.errors import UncacheableArgument

from .canonical import NotCanonical


def uncacheable_argument(function: str, argument: str, error: NotCanonical) -> UncacheableArgument:
    """The error for an argument that cannot be part of a key."""
    place = f"{argument}{error.path}"
    return UncacheableArgument(f"the argument {place} of {function} cannot be cached: {error}")
