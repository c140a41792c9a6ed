"""Cached endpoints of web frameworks."""

import larder_cache.decorators  # noqa: F401  - it imports this package, so it comes first

from .cached_endpoint import cached_endpoint
from .described import Variant
from .handle import AsyncCachedEndpoint, AsyncHelpers, AsyncOf, CachedEndpoint, Helpers, Of
from .stored import StoredResponse

__all__ = [
    "AsyncCachedEndpoint",
    "AsyncHelpers",
    "AsyncOf",
    "CachedEndpoint",
    "Helpers",
    "Of",
    "StoredResponse",
    "Variant",
    "cached_endpoint",
]
