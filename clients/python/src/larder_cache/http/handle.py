"""The helpers of cached endpoints: keys, reads, writes and invalidations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from larder_cache.decorators._drive import drive, settle
from larder_cache.decorators.callbacks import signature_of
from larder_cache.decorators.calls import CallKey
from larder_cache.decorators.templates import glob_escape
from larder_cache.results import Deleted, NotStored, Result, Stored

from .described import ArgumentShape, DescribedVisit, Variant
from .endpoint import Endpoint
from .visit import Visit

P = ParamSpec("P")
R = TypeVar("R")

MakeVisit = Callable[[tuple[Any, ...], dict[str, Any]], Visit]


class _Steps:
    """The steps of the helpers, which never suspend in a blocking framework."""

    def __init__(
        self,
        endpoint: Endpoint,
        original: Callable[..., Any],
        visit: MakeVisit,
        shape: ArgumentShape | None = None,
        skipped: int = 0,
    ) -> None:
        self.endpoint = endpoint
        self.original = original
        self.make_visit = visit
        self._shape = shape
        #: How many of the first arguments are the request of the framework.
        self._skipped = skipped

    def described(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], variant: Variant
    ) -> DescribedVisit:
        """The described request of these arguments."""
        given = bound(self.original, (None,) * self._skipped + args, kwargs, partial=True)
        for name in list(signature_of(self.original).parameters)[: self._skipped]:
            given.pop(name, None)
        return DescribedVisit(variant, given, self._shape, self.endpoint.known_codec)

    async def key(self, visit: DescribedVisit) -> CallKey:
        """The key. Raises ValueError if it needs a user and there is none."""
        key = await self.endpoint.keys.key(visit, self.endpoint.moment(visit))
        if key is None:
            raise ValueError(f"the key of {self.endpoint.options.name} needs a user: of(user=...)")
        return key

    async def get(self, visit: DescribedVisit) -> Result[Any]:
        """A read."""
        return await self.endpoint.read(visit, await self.key(visit))

    async def set(self, visit: DescribedVisit, value: Any) -> Stored | NotStored:
        """A write."""
        key, moment = await self.key(visit), self.endpoint.moment(visit)
        rules = self.endpoint.options.rules
        stored: Stored | NotStored = await settle(
            self.endpoint.handle(visit).set(
                key.key,
                value,
                params=key.params,
                ttl=await rules.lifetime(moment, value),
                tags=await rules.labels(moment, value),
            )
        )
        return stored

    async def invalidate(self, visit: DescribedVisit) -> Deleted:
        """A delete."""
        key = await self.key(visit)
        deleted: Deleted = await settle(
            self.endpoint.handle(visit).delete(key.key, params=key.params)
        )
        return deleted

    async def invalidate_variants(self, visit: DescribedVisit) -> None:
        """An invalidation of the key with all params."""
        options = self.endpoint.options
        if options.template is None:
            raise ValueError(
                f"{options.name} has no template key that its variants share: "
                "give it one with key=, or use tags"
            )
        moment = self.endpoint.moment(visit)
        text, _ = options.template.render(moment.arguments, self.endpoint.keys.refuse)
        await settle(self.endpoint.handle(visit).invalidate(globs=[glob_escape(text)]))

    async def invalidate_all(self) -> None:
        """An invalidation of all keys of the endpoint."""
        options = self.endpoint.options
        if options.key_builder is not None:
            raise ValueError(f"the keys of {options.name} are built: invalidate them by their tags")
        template = options.template
        glob = glob_escape(options.name) if template is None else template.glob()
        visit = self.described((), {}, Variant())
        await settle(self.endpoint.handle(visit).invalidate(globs=[glob]))


class Helpers(_Steps):
    """The helpers of an endpoint of a blocking framework."""

    def of(self, **variant: Any) -> Of:
        """The helpers for a variant: a query, headers, a user, a method, a body."""
        return Of(self, Variant(**variant))

    def drive(self, coroutine: Any) -> Any:
        """Runs a step."""
        return drive(coroutine, self.endpoint.options.name)

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the endpoint within a request, and stores its answer."""
        return self.endpoint.drive(self.make_visit(args, kwargs), refresh=True)

    def drop_all(self) -> None:
        """Invalidates the answers to all requests."""
        self.drive(self.invalidate_all())


class Of:
    """The helpers of an endpoint of a blocking framework, for one variant."""

    def __init__(self, helpers: Helpers, variant: Variant) -> None:
        self._helpers = helpers
        self._variant = variant

    def _visit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DescribedVisit:
        return self._helpers.described(args, kwargs, self._variant)

    def key(self, *args: Any, **kwargs: Any) -> CallKey:
        """The key and params of the answer for these arguments."""
        key: CallKey = self._helpers.drive(self._helpers.key(self._visit(args, kwargs)))
        return key

    def get(self, *args: Any, **kwargs: Any) -> Result[Any]:
        """The result of a read of the cache."""
        found: Result[Any] = self._helpers.drive(self._helpers.get(self._visit(args, kwargs)))
        return found

    def set(self, value: Any, *args: Any, **kwargs: Any) -> Stored | NotStored:
        """Stores a value, or a StoredResponse, for these arguments."""
        visit = self._visit(args, kwargs)
        stored: Stored | NotStored = self._helpers.drive(self._helpers.set(visit, value))
        return stored

    def invalidate(self, *args: Any, **kwargs: Any) -> Deleted:
        """Deletes the answer for these arguments. Raises LarderError if it cannot be done."""
        deleted: Deleted = self._helpers.drive(self._helpers.invalidate(self._visit(args, kwargs)))
        return deleted

    def invalidate_variants(self, *args: Any, **kwargs: Any) -> None:
        """Invalidates the answers for these arguments: of all users, queries and headers.

        Raises ValueError without a template key, and LarderError if it cannot be done.
        """
        self._helpers.drive(self._helpers.invalidate_variants(self._visit(args, kwargs)))


class AsyncHelpers(_Steps):
    """The helpers of an endpoint of an asynchronous framework."""

    def of(self, **variant: Any) -> AsyncOf:
        """The helpers for a variant: a query, headers, a user, a method, a body."""
        return AsyncOf(self, Variant(**variant))

    async def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the endpoint within a request, and stores its answer."""
        return await self.endpoint.serve(self.make_visit(args, kwargs), refresh=True)

    async def drop_all(self) -> None:
        """Invalidates the answers to all requests."""
        await self.invalidate_all()


class AsyncOf:
    """The helpers of an endpoint of an asynchronous framework, for one variant."""

    def __init__(self, helpers: AsyncHelpers, variant: Variant) -> None:
        self._helpers = helpers
        self._variant = variant

    def _visit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DescribedVisit:
        return self._helpers.described(args, kwargs, self._variant)

    async def key(self, *args: Any, **kwargs: Any) -> CallKey:
        """The key and params of the answer for these arguments."""
        return await self._helpers.key(self._visit(args, kwargs))

    async def get(self, *args: Any, **kwargs: Any) -> Result[Any]:
        """The result of a read of the cache."""
        return await self._helpers.get(self._visit(args, kwargs))

    async def set(self, value: Any, *args: Any, **kwargs: Any) -> Stored | NotStored:
        """Stores a value, or a StoredResponse, for these arguments."""
        return await self._helpers.set(self._visit(args, kwargs), value)

    async def invalidate(self, *args: Any, **kwargs: Any) -> Deleted:
        """Deletes the answer for these arguments. Raises LarderError if it cannot be done."""
        return await self._helpers.invalidate(self._visit(args, kwargs))

    async def invalidate_variants(self, *args: Any, **kwargs: Any) -> None:
        """Invalidates the answers for these arguments: of all users, queries and headers.

        Raises ValueError without a template key, and LarderError if it cannot be done.
        """
        await self._helpers.invalidate_variants(self._visit(args, kwargs))


class CachedEndpoint(Protocol[P, R]):
    """A cached endpoint of a blocking framework: a function with helpers.

    `of(query=..., headers=..., user=...)` gives the helpers for a variant; those of the endpoint
    itself are for a request without these.
    """

    __name__: str
    original: Callable[P, R]
    bypass: Callable[P, R]
    refresh: Callable[P, R]
    of: Callable[..., Of]
    key: Callable[..., CallKey]
    get: Callable[..., Result[Any]]
    set: Callable[..., Stored | NotStored]
    invalidate: Callable[..., Deleted]
    invalidate_variants: Callable[..., None]
    invalidate_all: Callable[[], None]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The answer, from the cache or of the endpoint."""
        ...


class AsyncCachedEndpoint(Protocol):
    """A cached endpoint of an asynchronous framework. See `CachedEndpoint`."""

    __name__: str
    original: Callable[..., Any]
    bypass: Callable[..., Any]
    refresh: Callable[..., Any]
    of: Callable[..., AsyncOf]
    key: Callable[..., Any]
    get: Callable[..., Any]
    set: Callable[..., Any]
    invalidate: Callable[..., Any]
    invalidate_variants: Callable[..., Any]
    invalidate_all: Callable[[], Any]

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer, from the cache or of the endpoint."""
        ...


_OF = ("key", "get", "set", "invalidate", "invalidate_variants")


def _attach(function: Any, helpers: Helpers | AsyncHelpers) -> Any:
    function.original = function.bypass = helpers.original
    function.of = helpers.of
    function.refresh = helpers.refresh
    function.invalidate_all = helpers.drop_all
    plain = helpers.of()
    for name in _OF:
        setattr(function, name, getattr(plain, name))
    return function


def attach(function: Callable[P, R], helpers: Helpers) -> CachedEndpoint[P, R]:
    """The function with its helpers as attributes."""
    return cast("CachedEndpoint[P, R]", _attach(function, helpers))


def attach_async(function: Callable[..., Any], helpers: AsyncHelpers) -> AsyncCachedEndpoint:
    """The function with its helpers as attributes."""
    return cast("AsyncCachedEndpoint", _attach(function, helpers))


def bound(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    partial: bool = False,
) -> dict[str, Any]:
    """The arguments by name, with their defaults; those of ``**kwargs`` by their own names."""
    signature = signature_of(function)
    bind = signature.bind_partial if partial else signature.bind
    arguments = bind(*args, **kwargs)
    arguments.apply_defaults()
    found: dict[str, Any] = {}
    for name, value in arguments.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL or value:
            found[name] = value
    return found
