"""Decorators that cache what functions return and what endpoints answer."""

from larder_cache.http.cached_endpoint import cached_endpoint

from .cached import cache_result, cached
from .calls import Call, CallKey
from .codecs import FunctionCodec, compress, decompress
from .functions import AsyncCachedFunction, CachedFunction
from .many import AsyncCachedMany, CachedMany, cached_many

__all__ = [
    "AsyncCachedFunction",
    "AsyncCachedMany",
    "CachedFunction",
    "CachedMany",
    "Call",
    "CallKey",
    "FunctionCodec",
    "cache_result",
    "cached",
    "cached_endpoint",
    "cached_many",
    "compress",
    "decompress",
]
