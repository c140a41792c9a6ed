"""The decorator ``cached_endpoint`` of the replaced module ``redis_fastapi``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from larder_cache.decorators._drive import settle
from larder_cache.decorators.callbacks import Callback, Offer
from larder_cache.http.handle import AsyncCachedEndpoint
from larder_cache.http.options import EndpointArguments
from larder_cache.http.starlette import cached_endpoint as starlette_endpoint

from .old_keys import split
from .settings import is_enabled, ttl_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

_TTLS = ("ttl", "timeout", "expire", "ttl_function")


def cached_endpoint(
    namespace: str, **options: Unpack[EndpointArguments]
) -> Callable[[Callable[..., Any]], AsyncCachedEndpoint]:
    """Caches the answers of an endpoint of FastAPI, with the defaults of the replaced module.

    The TTL is that of the table `REDIS_CACHE_TTL_CONFIG`. The key is
    ``endpoint:<name of the function>:<module>``, so that the pattern
    ``cache:<namespace>:endpoint:<name>:*`` matches it, and a ``key_builder`` may return
    ``cache:<namespace>:<key>``. REDIS_ENABLED and REDIS_CACHE_ENABLED switch it off. The answers
    have the header X-Cache-Key only with ``debug=True``. It takes the options of
    `larder_cache.http.cached_endpoint`.
    """
    if not isinstance(namespace, str) or not namespace:
        raise TypeError(f"namespace must be text, not {namespace!r}")

    def decorate(function: Callable[..., Any]) -> AsyncCachedEndpoint:
        made = options.copy()
        made.setdefault("enabled", functools.partial(is_enabled, default=True))
        if all(made.get(option) is None for option in _TTLS):
            made["ttl"] = ttl_of(namespace)
        builder = made.get("key_builder")
        if builder is not None:
            made["key_builder"] = _WithoutPrefix(namespace, builder)
        elif not made.get("key") and not made.get("key_prefix"):
            made.setdefault("name", f"endpoint:{function.__name__}:{function.__module__}")
        return starlette_endpoint(namespace, **made)(function)

    return decorate


class _WithoutPrefix:
    """A key builder whose keys may begin with the prefix and the namespace."""

    def __init__(self, namespace: str, builder: Callable[..., Any]) -> None:
        self._namespace = namespace
        offer = Offer(("request", "namespace"), ("function", "func", "args", "kwargs", "response"))
        self._builder = Callback("key_builder", builder, offer)

    async def __call__(
        self, request: Any, namespace: Any, func: Any, args: Any, kwargs: Any, response: Any
    ) -> Any:
        more = {
            "request": request,
            "namespace": namespace,
            "function": func,
            "func": func,
            "args": args,
            "kwargs": kwargs,
            "response": response,
        }
        key = await settle(self._builder.call(request, namespace, more=more))
        if not isinstance(key, str) or ":" not in key:
            return key
        found = split(key)
        return found.key if found.namespace == self._namespace else key
