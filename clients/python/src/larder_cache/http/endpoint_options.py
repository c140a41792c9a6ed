"""The options of a cached endpoint, checked when it is decorated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, cast

from larder_cache.codecs import Codec
from larder_cache.decorators.callbacks import (
    Callback,
    Offer,
    is_coroutine_function,
    signature_of,
)
from larder_cache.decorators.calls import function_name
from larder_cache.decorators.canonical import NotCanonical, canonical
from larder_cache.decorators.codecs import OBJECT_CODEC, chosen_codec
from larder_cache.decorators.handles import Home
from larder_cache.decorators.options import Rules, fetching, rules
from larder_cache.decorators.plan import refuse_async, refuse_generators
from larder_cache.decorators.templates import Template

from .options import GivenOptions

#: Functions among the options can ask for these by name, besides the request.
MORE = ("namespace", "function", "func", "args", "kwargs", "response", "call")

_RULES = (
    "ttl", "timeout", "expire", "ttl_function", "tags", "enabled", "skip_cache_fn", "cache_if",
    "forced_update", "refresh", "cache_none",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EndpointOptions:
    """How an endpoint is cached. See `cached_endpoint` for the options."""

    function: Callable[..., Any]
    name: str
    rules: Rules
    home: Home
    #: None: whole answers, or the framework's own form of values.
    values: Codec | None
    template: Template | None
    key_builder: Callback | None
    ignore: frozenset[str]
    by_user: bool | str | Callback
    cache_anonymous: bool
    cache_authorized: bool
    query_params: tuple[str, ...] | None
    #: None: those that injected arguments are made of.
    headers: tuple[str, ...] | None
    methods: frozenset[str]
    statuses: frozenset[int]
    honour_no_cache: bool
    cache_control: bool | str
    debug: bool
    fetching: dict[str, Any]

    @property
    def codec(self) -> Codec:
        """How values that are no whole answers are stored."""
        return OBJECT_CODEC if self.values is None else self.values

    @property
    def callbacks(self) -> list[Callback]:
        """All options that are functions of a request."""
        more = [item for item in (self.key_builder, self.by_user) if isinstance(item, Callback)]
        return [*self.rules.callbacks, *more]


def endpoint_options(
    function: Callable[..., Any], options: GivenOptions, *, is_async: bool | None = None
) -> EndpointOptions:
    """The options for a function. Raises TypeError or ValueError, which name the option."""
    given = cast("dict[str, Any]", options)
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"cached_endpoint decorates a function, not {function!r}")
    refuse_generators(function)
    if is_async is None:
        is_async = is_coroutine_function(function)
    names = _template_names(function)
    offer = Offer(("request",), MORE, names)
    name = given["name"] or given["key_prefix"] or given["key"] or _name_of(function)
    chosen = [option for option in ("key", "key_builder", "key_prefix") if given[option]]
    if len(chosen) > 1:
        raise TypeError(f"{chosen[0]} and {chosen[1]} exclude each other")
    template = None if given["key"] is None else Template(given["key"])
    if template is not None:
        template.require(names)
    builder = given["key_builder"]
    made = EndpointOptions(
        function=function,
        name=name,
        rules=rules(offer, **{option: given[option] for option in _RULES}),
        home=Home(
            namespace=given["namespace"],
            client=given["client"],
            is_async=is_async,
            on_error=given["on_error"],
            near_cache=given["near_cache"],
            function=name,
        ),
        values=chosen_codec(
            codec=given["codec"],
            serializer=given["serializer"],
            deserializer=given["deserializer"],
            type=given["type"],
        ),
        template=template,
        key_builder=None
        if builder is None
        else Callback("key_builder", builder, offer._replace(values=("request", "namespace"))),
        ignore=_names("ignore", given["ignore"]),
        by_user=_user(given["cache_by_user"], offer),
        cache_anonymous=_anonymous(given["cache_anonymous"], given["cache_by_user"]),
        cache_authorized=given["cache_authorized"],
        query_params=_query_params(given["vary_query_params"]),
        headers=_headers(given["vary_headers"]),
        methods=_methods(given["methods"]),
        statuses=_statuses(given["statuses"]),
        honour_no_cache=given["honour_no_cache"],
        cache_control=given["cache_control"],
        debug=given["debug"],
        fetching=fetching(given["max_stale"], given["fetch_timeout"]),
    )
    if not is_async:
        refuse_async(name, *made.callbacks)
    return made


def _name_of(function: Callable[..., Any]) -> str:
    """The name of a function, or that of the class that Django made the view of."""
    view_class = getattr(function, "view_class", None)
    if view_class is None:
        return function_name(function)
    name = f"{view_class.__module__}:{view_class.__qualname__}"
    arguments = getattr(function, "view_initkwargs", None)
    if not arguments:
        return name
    try:
        return f"{name}:{canonical(arguments)}"
    except NotCanonical as error:
        raise ValueError(
            f"as_view() of {name} has the argument {error.path[1:]}, which no name can hold: give "
            "the view one with name="
        ) from None


class _AnyName(tuple[str, ...]):
    """The names of a function that takes arguments of any name."""

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()


def _template_names(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = signature_of(function).parameters.values()
    names = tuple(p.name for p in parameters)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return _AnyName(names) if open_ended else names


def _names(option: str, names: Any) -> frozenset[str]:
    if isinstance(names, str):
        raise TypeError(f"{option} must be a sequence of names, such as [{names!r}]")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{option} has {name!r}, which is not a name")
    return frozenset(names)


def _headers(names: Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return tuple(sorted(name.lower() for name in _names("vary_headers", names)))


def _query_params(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted(_names("vary_query_params", names)))


def _user(option: Any, offer: Offer) -> bool | str | Callback:
    if isinstance(option, (bool, str)):
        return option
    return Callback("cache_by_user", option, offer)


def _anonymous(value: bool, by_user: Any) -> bool:
    if value and not by_user:
        raise ValueError("cache_anonymous needs cache_by_user")
    return value


def _methods(methods: Collection[str]) -> frozenset[str]:
    found = frozenset(method.upper() for method in _names("methods", methods))
    if not found:
        raise ValueError("methods must not be empty")
    return found | {"HEAD"} if "GET" in found else found


def _statuses(statuses: Collection[int]) -> frozenset[int]:
    for status in statuses:
        if not isinstance(status, int) or not 200 <= status <= 599 or status in (206, 304):
            raise ValueError(f"statuses has {status!r}, which cannot be cached")
    return frozenset(statuses)
