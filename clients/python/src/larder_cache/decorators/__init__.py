"""Decorators that cache what functions return and what endpoints answer."""

from larder_cache.http.cached_endpoint import cached_endpoint

from .cached import cache_result, cached
from .calls import Call, CallKey
from .codecs import FunctionCodec, compress, decompress
from .functions import AsyncCachedFunction, CachedFunction

__all__ = [
    "AsyncCachedFunction",
    "CachedFunction",
    "Call",
    "CallKey",
    "FunctionCodec",
    "cache_result",
    "cached",
    "cached_endpoint",
    "compress",
    "decompress",
]
