"""The decorators `cached` and `cache_result`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypedDict, TypeVar, overload

from larder_cache import AsyncClient, AsyncNamespace, Client, Namespace, NearCache
from larder_cache.codecs import Codec
from larder_cache.durations import Duration
from larder_cache.options import OnError

from .callbacks import Callback, Offer, is_coroutine_function
from .calls import CallKeys, function_name
from .codecs import Deserializer, Serializer, chosen_codec
from .functions import AsyncCachedFunction, CachedFunction
from .handles import Home
from .options import Switch, Tags, Ttl, fetching, rules
from .plan import Binding, Plan, refuse_async, refuse_generators
from .users import user_of_call

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")

#: The namespace of functions that name none.
NAMESPACE: Final = "functions"

#: Functions among the options can ask for these by name, besides the call and its arguments.
MORE = ("function", "func", "namespace", "args", "kwargs")


class _Unset:
    def __repr__(self) -> str:
        return "the default"


UNSET: Final = _Unset()


class Decorator(Protocol):
    """A decorator of functions. It keeps their signatures."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: classmethod[Any, P, Coroutine[Any, Any, R]], /
    ) -> AsyncCachedFunction[P, R]: ...
    @overload
    def __call__(self, function: classmethod[Any, P, R], /) -> CachedFunction[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncCachedFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...


class FunctionOptions(TypedDict, total=False):
    """The options that `cached` and `cache_result` share."""

    ttl: Ttl
    expire: Ttl
    ttl_function: Callable[..., Any] | None
    namespace: str | Namespace[Any] | AsyncNamespace[Any]
    client: Client | AsyncClient | Callable[[], Client | AsyncClient] | None
    name: str | None
    key: str | None
    key_builder: Callable[..., Any] | None
    ignore: Sequence[str | type]
    key_self: bool | str | Callable[[Any], Any]
    cache_by_user: bool | str | Callable[..., Any]
    cache_anonymous: bool
    tags: Tags
    enabled: Switch
    skip_cache_fn: Callable[..., Any] | None
    cache_if: Callable[..., Any] | None
    forced_update: Switch
    refresh: Switch
    cache_none: bool
    codec: Codec | str | None
    serializer: Serializer | None
    deserializer: Deserializer | None
    type: Any
    on_error: OnError | None
    near_cache: NearCache | bool | None
    max_stale: Duration | None
    fetch_timeout: Duration | None


def cached(
    ttl: Ttl | _Unset = UNSET,
    key_prefix: str = "",
    *,
    timeout: Ttl = None,
    expire: Ttl = None,
    ttl_function: Callable[..., Any] | None = None,
    namespace: str | Namespace[Any] | AsyncNamespace[Any] = NAMESPACE,
    client: Client | AsyncClient | Callable[[], Client | AsyncClient] | None = None,
    name: str | None = None,
    key: str | None = None,
    key_builder: Callable[..., Any] | None = None,
    ignore: Sequence[str | type] = (),
    key_self: bool | str | Callable[[Any], Any] = False,
    cache_by_user: bool | str | Callable[..., Any] = False,
    cache_anonymous: bool = False,
    tags: Tags = (),
    enabled: Switch = True,
    skip_cache_fn: Callable[..., Any] | None = None,
    cache_if: Callable[..., Any] | None = None,
    forced_update: Switch = False,
    refresh: Switch = False,
    cache_none: bool = True,
    codec: Codec | str | None = None,
    serializer: Serializer | None = None,
    deserializer: Deserializer | None = None,
    type: Any = None,
    on_error: OnError | None = None,
    near_cache: NearCache | bool | None = None,
    max_stale: Duration | None = None,
    fetch_timeout: Duration | None = None,
) -> Decorator:
    """Caches what a function returns: a function, a coroutine function, or a method of any kind.

    ``ttl`` (an hour; also named ``timeout``, ``expire`` and ``ttl_function``) is in seconds, text
    such as ``"5m"``, a ``timedelta``, None for that of the namespace, or a function of the call, or
    of the call and its result. The key is ``module:qualified.name``, unless there is ``name``,
    ``key_prefix``, a template ``key`` such as ``"user:{user_id}"`` or ``key_builder``. The
    arguments that the template does not name are params of the entry; ``ignore`` has the names and
    types of those that are not. One call at a time computes a missing value, in the whole fleet.
    Exceptions are not cached; None is, unless ``cache_none`` is False.

    Raises TypeError or ValueError, which name the option, when the function is decorated. Its calls
    raise UncacheableArgument for an argument that cannot be part of a key.
    """

    made_codec = chosen_codec(
        codec=codec, serializer=serializer, deserializer=deserializer, type=type
    )
    if made_codec is not None and not isinstance(namespace, str):
        raise TypeError("the codec is that of the handle that is given as namespace")

    def decorate(function: Any) -> Any:
        made, binding = _unwrapped(function, "cached")
        is_async = is_coroutine_function(made)
        names = tuple(inspect.signature(made).parameters)
        offer = Offer(("call",), MORE, names)
        full_name = name or key_prefix or (key or "") or function_name(made)
        keys = CallKeys(
            made,
            name=full_name,
            template=key,
            key_builder=_builder(key_builder, offer, key, key_prefix),
            ignore=ignore,
            key_self=key_self,
            is_method=binding == "class",
        )
        user_of = user_of_call(
            cache_by_user, function=full_name, offer=offer, cache_anonymous=cache_anonymous
        )
        if user_of is not None and not is_async:
            refuse_async(full_name, user_of.callback)
        default = None if timeout is not None or expire is not None or ttl_function else 3600
        plan = Plan(
            made,
            keys=keys,
            rules=rules(
                offer,
                ttl=default if isinstance(ttl, _Unset) else ttl,
                timeout=timeout,
                expire=expire,
                ttl_function=ttl_function,
                tags=tags,
                enabled=enabled,
                skip_cache_fn=skip_cache_fn,
                cache_if=cache_if,
                forced_update=forced_update,
                refresh=refresh,
                cache_none=cache_none,
            ),
            home=Home(
                namespace=namespace,
                client=client,
                is_async=is_async,
                on_error=on_error,
                near_cache=near_cache,
                function=full_name,
            ),
            codec=made_codec,
            user_of=user_of,
            fetching=fetching(max_stale, fetch_timeout),
            binding=binding,
        )
        return AsyncCachedFunction(plan) if is_async else CachedFunction(plan)

    return decorate


def cache_result(
    timeout: Ttl = 300, key_prefix: str = "", **options: Unpack[FunctionOptions]
) -> Decorator:
    """`cached` with a TTL of 300 seconds, and the key ``<key_prefix><name of the function>``.

    It takes the options of `cached`.
    """
    if any(options.get(name) is not None for name in ("ttl", "expire", "ttl_function")):
        timeout = None

    def decorate(function: Any) -> Any:
        made, _ = _unwrapped(function, "cache_result")
        named = options.copy()
        if key_prefix and not {"name", "key", "key_builder"} & options.keys():
            named["name"] = key_prefix + getattr(made, "__name__", type(made).__name__)
        return cached(timeout=timeout, **named)(function)

    return decorate


def _unwrapped(function: Any, decorator: str) -> tuple[Callable[..., Any], Binding]:
    binding: Binding = "function"
    if isinstance(function, (staticmethod, classmethod)):
        binding = "static" if isinstance(function, staticmethod) else "class"
        function = function.__func__
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"{decorator} decorates a function, not {function!r}; it is used with parentheses: "
            f"@{decorator}()"
        )
    if isinstance(function, (CachedFunction, AsyncCachedFunction)):
        raise TypeError(f"{function!r} is already cached")
    refuse_generators(function)
    _refuse_hidden_coroutine(function)
    return function, binding


def _refuse_hidden_coroutine(function: Any) -> None:
    """Raises TypeError for a blocking function around a coroutine function (``functools.wraps``).

    Its result would be a coroutine, which can be awaited only once.
    """
    inner = inspect.unwrap(function)
    if inner is not function and is_coroutine_function(inner) != is_coroutine_function(function):
        if is_coroutine_function(inner) and not _runs_it(function):
            raise TypeError(
                f"{function.__qualname__} is a blocking function around a coroutine function, so "
                "that it returns a coroutine, which cannot be cached: decorate the coroutine "
                "function, make the one around it one, or delete its __wrapped__ if it runs it"
            )


def _runs_it(function: Any) -> bool:
    """Whether the wrapper shows that it returns a value, as asgiref's async_to_sync does."""
    return hasattr(function, "awaitable") or not hasattr(function, "__code__")


def _builder(
    builder: Callable[..., Any] | None, offer: Offer, key: str | None, key_prefix: str
) -> Callback | None:
    given = [
        n for n, v in (("key", key), ("key_builder", builder), ("key_prefix", key_prefix)) if v
    ]
    if len(given) > 1:
        raise TypeError(f"{given[0]} and {given[1]} exclude each other")
    if builder is None:
        return None
    return Callback("key_builder", builder, offer._replace(values=("call", "namespace")))
