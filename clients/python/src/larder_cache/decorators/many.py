"""`cached_many`: functions of many items, which are cached one by one."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

from larder_cache import AsyncClient, AsyncNamespace, Client, Key, Namespace, NearCache
from larder_cache.codecs import Codec, codec_named
from larder_cache.durations import Duration
from larder_cache.options import OnError
from larder_cache.results import Deleted, Loaded, NotStored, Result, Stored
from larder_cache.typed import typed_codec

from ._drive import drive, settle
from .cached import MORE, NAMESPACE
from .callbacks import Offer, is_coroutine_function
from .calls import Call, CallKeys, function_name
from .codecs import OBJECT_CODEC
from .handles import Home
from .options import Moment, Rules, Switch, Tags, Ttl, fetching, rules
from .plan import refuse_async, refuse_generators

K = TypeVar("K")
V = TypeVar("V")

#: The name of one item in templates, and of its param in keys.
ITEM = "item"


class ManyDecorator(Protocol):
    """A decorator of functions of many items."""

    @overload
    def __call__(
        self, function: Callable[..., Coroutine[Any, Any, Mapping[K, V]]], /
    ) -> AsyncCachedMany[K, V]: ...
    @overload
    def __call__(self, function: Callable[..., Mapping[K, V]], /) -> CachedMany[K, V]: ...


def cached_many(
    ttl: Ttl = 3600,
    *,
    argument: str | None = None,
    namespace: str | Namespace[Any] | AsyncNamespace[Any] = NAMESPACE,
    client: Client | AsyncClient | Callable[[], Client | AsyncClient] | None = None,
    name: str | None = None,
    key: str | None = None,
    ignore: Sequence[str | type] = (),
    tags: Tags = (),
    enabled: Switch = True,
    skip_cache_fn: Callable[..., Any] | None = None,
    cache_if: Callable[..., Any] | None = None,
    refresh: Switch = False,
    cache_none: bool = True,
    codec: Codec | str | None = None,
    type: Any = None,
    on_error: OnError | None = None,
    near_cache: NearCache | bool | None = None,
    max_stale: Duration | None = None,
    fetch_timeout: Duration | None = None,
) -> ManyDecorator:
    """Caches a function of many items, such as ``get_users(ids)``, item by item.

    The function gets the items that are not cached, in one call, and returns a mapping of items to
    values; an item that it leaves out has no value, and nothing is stored for it. The decorated
    function returns a mapping of all items that have a value, in the order in which they came.
    ``argument`` is the name of the parameter with the items, by default the first. In templates the
    item is ``{item}``: ``@cached_many(key="user:{item}")`` shares its entries with
    ``@cached(key="user:{user_id}")``. Functions of the call see it as ``call.item``. ``type`` is
    the type of one value. The other options are those of `cached`.
    """

    def decorate(function: Any) -> Any:
        if not callable(function) or isinstance(function, builtin_type):
            raise TypeError(f"cached_many decorates a function, not {function!r}")
        if codec is not None and type is not None:
            raise TypeError("codec and type exclude each other")
        refuse_generators(function)
        is_async = is_coroutine_function(function)
        parameters = list(inspect.signature(function).parameters)
        items = argument or next(iter(parameters), "")
        if items not in parameters:
            raise ValueError(f"argument must be a parameter of the function, not {items!r}")
        full_name = name or key or function_name(function)
        one = _of_one(function, items)
        offer = Offer(("call",), MORE, tuple(inspect.signature(one).parameters))
        plan = ManyPlan(
            function,
            items=items,
            keys=CallKeys(one, name=full_name, template=key, ignore=ignore),
            rules=rules(
                offer,
                ttl=ttl,
                tags=tags,
                enabled=enabled,
                skip_cache_fn=skip_cache_fn,
                cache_if=cache_if,
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
            codec=_codec(codec, type),
            fetching=fetching(max_stale, fetch_timeout),
        )
        if not is_async:
            refuse_async(full_name, *plan.rules.callbacks)
        return AsyncCachedMany(plan) if is_async else CachedMany(plan)

    return decorate


builtin_type = type


def _codec(codec: Codec | str | None, kind: Any) -> Codec:
    if codec is not None:
        return codec_named(codec)
    return OBJECT_CODEC if kind is None else typed_codec(kind)


def _of_one(function: Callable[..., Any], items: str) -> Callable[..., Any]:
    """A stand-in with the signature of the function, for one item in place of many."""
    signature = inspect.signature(function)
    if ITEM in signature.parameters and items != ITEM:
        raise ValueError(f"the name {ITEM!r} is taken by an argument of {function.__qualname__}")
    parameters = [
        p.replace(name=ITEM, annotation=p.empty, default=p.empty) if p.name == items else p
        for p in signature.parameters.values()
    ]

    def one(*_args: Any, **_kwargs: Any) -> None:
        raise NotImplementedError

    one.__qualname__, one.__module__ = function.__qualname__, function.__module__
    one.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=sorted(parameters, key=lambda p: (p.kind, p.default is not p.empty))
    )
    return one


class ManyPlan:
    """The steps of the calls of a function of many items."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        items: str,
        keys: CallKeys,
        rules: Rules,
        home: Home,
        codec: Codec,
        fetching: dict[str, Any],
    ) -> None:
        self.function = function
        self.keys = keys
        self.rules = rules
        self.is_async = is_coroutine_function(function)
        self._items = items
        self._signature = inspect.signature(function)
        self._home = home
        self._codec = codec
        self._fetching = fetching

    @property
    def handle(self) -> Any:
        """The handle of the namespace."""
        return self._home.handle(self._codec)

    async def fetch(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, refresh: bool = False
    ) -> dict[Any, Any]:
        """The values of all items that have one."""
        bound = self._signature.bind(*args, **kwargs)
        items = list(dict.fromkeys(bound.arguments[self._items]))
        plain: list[Any] = []
        moments: dict[Key, Moment] = {}
        refreshed: dict[Key, Moment] = {}
        keys: dict[Any, Key] = {}
        for item in items:
            moment = self._moment(bound, item)
            if not self.rules.is_enabled() or await self.rules.skips(moment):
                plain.append(item)
                continue
            made = self.keys.key(moment.subject)
            keys[item] = key = Key(made.key, made.params)
            fresh = refresh or await self.rules.refreshes(moment)
            (refreshed if fresh else moments)[key] = moment
        values = dict(await self._call(bound, plain)) if plain else {}
        found = await self._fetch(bound, moments, refresh=False)
        found.update(await self._fetch(bound, refreshed, refresh=True))
        for item, key in keys.items():
            result = found[key]
            if result.found:
                values[item] = result.value
        return {item: values[item] for item in items if item in values}

    async def _fetch(
        self, bound: inspect.BoundArguments, moments: dict[Key, Moment], *, refresh: bool
    ) -> dict[Key, Result[Any]]:
        if not moments:
            return {}

        async def load(missing: list[Key]) -> dict[Key, Loaded[Any]]:
            of_items = {moments[key].subject[ITEM]: key for key in missing}
            values = await self._call(bound, list(of_items))
            return {
                key: await self.rules.loaded(moments[key], values[item], values[item])
                for item, key in of_items.items()
                if item in values
            }

        found: dict[Key, Result[Any]] = await settle(
            self.handle.get_or_fetch_many(
                list(moments),
                load if self.is_async else lambda missing: drive(load(missing), self.keys.name),
                refresh=refresh,
                **self._fetching,
            )
        )
        return found

    async def _call(self, bound: inspect.BoundArguments, items: list[Any]) -> Mapping[Any, Any]:
        arguments = inspect.BoundArguments(self._signature, bound.arguments.copy())
        arguments.arguments[self._items] = items
        values = await settle(self.function(*arguments.args, **arguments.kwargs))
        if not isinstance(values, Mapping):
            raise TypeError(
                f"{self.keys.name} must return a mapping of items to values, "
                f"not {type(values).__name__}"
            )
        return values

    def _moment(self, bound: inspect.BoundArguments, item: Any) -> Moment:
        named = bound.arguments
        arguments: dict[str, Any] = {}
        for name, parameter in self._signature.parameters.items():
            if name == self._items:
                arguments[ITEM] = item
            elif name in named:
                arguments[name] = named[name]
            elif parameter.default is not parameter.empty:
                arguments[name] = parameter.default
        call = Call(self.function, bound.args, bound.kwargs, arguments)
        more = {
            "call": call,
            "function": self.function,
            "func": self.function,
            "namespace": self._home.name,
            "args": bound.args,
            "kwargs": bound.kwargs,
        }
        return Moment(call, more, call)

    def key(self, item: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Key:
        """The key of one item; the other arguments are as in a call."""
        made = self.keys.key(self._one(item, args, kwargs).subject)
        return Key(made.key, made.params)

    def _one(self, item: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Moment:
        others = {self._items: [item], **kwargs}
        return self._moment(self._signature.bind(*args, **others), item)

    async def get(self, items: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[Any, Result[Any]]:
        """A read of the cache."""
        keys = {item: self.key(item, (), kwargs) for item in items}
        found = await settle(self.handle.get_many(list(keys.values())))
        return {item: found[key] for item, key in keys.items()}

    async def set(
        self, values: Mapping[Any, Any], kwargs: Mapping[str, Any]
    ) -> dict[Any, Stored | NotStored]:
        """Stores values, with the TTL and the tags that the rules give each."""
        stored = {}
        for item, value in values.items():
            moment = self._one(item, (), kwargs)
            made = self.keys.key(moment.subject)
            stored[item] = await settle(
                self.handle.set(
                    made.key,
                    value,
                    params=made.params,
                    ttl=await self.rules.lifetime(moment, value),
                    tags=await self.rules.labels(moment, value),
                )
            )
        return stored

    async def invalidate(
        self, items: Iterable[Any], kwargs: Mapping[str, Any]
    ) -> dict[Any, Deleted]:
        """Deletes the values of items."""
        keys = {item: self.key(item, (), kwargs) for item in items}
        deleted = await settle(self.handle.delete_many(list(keys.values())))
        return {item: deleted[key] for item, key in keys.items()}


class _Many(Generic[K, V]):
    def __init__(self, plan: ManyPlan) -> None:
        functools.update_wrapper(self, plan.function)  # type: ignore[arg-type]
        self._plan = plan
        #: The function without the cache.
        self.original = plan.function

    def __reduce__(self) -> str:
        return self._plan.function.__qualname__

    def key(self, item: K, **others: Any) -> Key:
        """The key of one item; ``others`` are the other arguments."""
        return self._plan.key(item, (), others)


class CachedMany(_Many[K, V]):
    """A cached blocking function of many items. The helpers take the other arguments by name."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[K, V]:
        """The values of all items that have one, in the order of the items."""
        return self._drive(self._plan.fetch(args, kwargs))

    def bypass(self, *args: Any, **kwargs: Any) -> Mapping[K, V]:
        """Runs the function without the cache."""
        values: Mapping[K, V] = self._plan.function(*args, **kwargs)
        return values

    def refresh(self, *args: Any, **kwargs: Any) -> dict[K, V]:
        """Runs the function for all items, and stores what it returns."""
        return self._drive(self._plan.fetch(args, kwargs, refresh=True))

    def get(self, items: Iterable[K], **others: Any) -> dict[K, Result[V]]:
        """The results of a read of the cache. The function does not run."""
        return self._drive(self._plan.get(items, others))

    def set(self, values: Mapping[K, V], **others: Any) -> dict[K, Stored | NotStored]:
        """Stores values, with the TTL and the tags of the decorator."""
        return self._drive(self._plan.set(values, others))

    def invalidate(self, items: Iterable[K], **others: Any) -> dict[K, Deleted]:
        """Deletes the values of items. Raises LarderError if the cache cannot do it."""
        return self._drive(self._plan.invalidate(items, others))

    def _drive(self, coroutine: Coroutine[Any, Any, dict[Any, Any]]) -> dict[Any, Any]:
        return drive(coroutine, self._plan.keys.name)


class AsyncCachedMany(_Many[K, V]):
    """A cached coroutine function of many items. See `CachedMany`."""

    def __init__(self, plan: ManyPlan) -> None:
        super().__init__(plan)
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)
        else:
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]

    async def __call__(self, *args: Any, **kwargs: Any) -> dict[K, V]:
        """The values of all items that have one, in the order of the items."""
        return await self._plan.fetch(args, kwargs)

    async def bypass(self, *args: Any, **kwargs: Any) -> Mapping[K, V]:
        """Runs the function without the cache."""
        values: Mapping[K, V] = await self._plan.function(*args, **kwargs)
        return values

    async def refresh(self, *args: Any, **kwargs: Any) -> dict[K, V]:
        """Runs the function for all items, and stores what it returns."""
        return await self._plan.fetch(args, kwargs, refresh=True)

    async def get(self, items: Iterable[K], **others: Any) -> dict[K, Result[V]]:
        """The results of a read of the cache. The function does not run."""
        return await self._plan.get(items, others)

    async def set(self, values: Mapping[K, V], **others: Any) -> dict[K, Stored | NotStored]:
        """Stores values, with the TTL and the tags of the decorator."""
        return await self._plan.set(values, others)

    async def invalidate(self, items: Iterable[K], **others: Any) -> dict[K, Deleted]:
        """Deletes the values of items. Raises LarderError if the cache cannot do it."""
        return await self._plan.invalidate(items, others)
