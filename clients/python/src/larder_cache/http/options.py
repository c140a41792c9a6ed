"""The arguments of `cached_endpoint`, the same in all frameworks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, TypedDict

from larder_cache import AsyncClient, Client, NearCache
from larder_cache.codecs import Codec
from larder_cache.decorators.codecs import Deserializer, Serializer
from larder_cache.decorators.options import Switch, Tags, Ttl
from larder_cache.durations import Duration
from larder_cache.options import OnError

#: Browsers ask again, with the ETag: no invalidation reaches an answer that they keep.
NO_CACHE = "no-cache"

Framework = Literal["django", "fastapi", "flask", "starlette"]


class EndpointArguments(TypedDict, total=False):
    """The options of `cached_endpoint`, besides the namespace."""

    ttl: Ttl
    timeout: Ttl
    expire: Ttl
    ttl_function: Callable[..., Any] | None
    cache_by_user: bool | str | Callable[..., Any]
    cache_anonymous: bool
    cache_authorized: bool
    vary_query_params: Sequence[str] | None
    vary_headers: Sequence[str] | None
    key: str | None
    key_builder: Callable[..., Any] | None
    key_prefix: str
    name: str | None
    ignore: Sequence[str]
    methods: Collection[str]
    statuses: Collection[int]
    serializer: Serializer | None
    deserializer: Deserializer | None
    codec: Codec | str | None
    type: Any
    serve_bytes: bool
    skip_cache_fn: Callable[..., Any] | None
    cache_if: Callable[..., Any] | None
    forced_update: Switch
    refresh: Switch
    cache_none: bool
    tags: Tags
    enabled: Switch
    honour_no_cache: bool
    cache_control: bool | str
    debug: bool
    client: Client | AsyncClient | Callable[[], Client | AsyncClient] | None
    on_error: OnError | None
    near_cache: NearCache | bool | None
    max_stale: Duration | None
    fetch_timeout: Duration | None


_DEFAULTS: EndpointArguments = {
    "ttl": None,
    "timeout": None,
    "expire": None,
    "ttl_function": None,
    "cache_by_user": False,
    "cache_anonymous": False,
    "cache_authorized": False,
    "vary_query_params": None,
    "vary_headers": None,
    "key": None,
    "key_builder": None,
    "key_prefix": "",
    "name": None,
    "ignore": (),
    "methods": ("GET", "HEAD"),
    "statuses": (200,),
    "serializer": None,
    "deserializer": None,
    "codec": None,
    "type": None,
    "serve_bytes": False,
    "skip_cache_fn": None,
    "cache_if": None,
    "forced_update": False,
    "refresh": False,
    "cache_none": True,
    "tags": (),
    "enabled": True,
    "honour_no_cache": False,
    "cache_control": NO_CACHE,
    "debug": False,
    "client": None,
    "on_error": None,
    "near_cache": None,
    "max_stale": None,
    "fetch_timeout": None,
}


class GivenOptions(EndpointArguments, total=False):
    """All options with their values."""

    namespace: str


def with_defaults(namespace: str, options: EndpointArguments) -> GivenOptions:
    """The options with the defaults of those that are not given.

    Raises TypeError for an option that there is not.
    """
    if not isinstance(namespace, str):
        raise TypeError(
            f"namespace must be the name of one, not {namespace!r}: @cached_endpoint('name')"
        )
    for option in options:
        if option not in _DEFAULTS:
            raise TypeError(f"cached_endpoint has no option {option!r}")
    given: GivenOptions = {**_DEFAULTS, **options, "namespace": namespace}
    return given
