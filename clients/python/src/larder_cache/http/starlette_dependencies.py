"""The headers and cookies that the injected arguments of an endpoint of FastAPI depend on.

The values of dependencies are not part of a key, but what they are made of must be: a tenant of a
header, or the session of a cookie.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin


log = logging.getLogger("larder_cache")


class Sources(NamedTuple):
    """Names of headers in lower case, and of cookies. ``unbounded`` is a model that takes any."""

    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    unbounded: str | None = None


#: Requests with it are answered from the cache only by user, or if that is permitted.
_AUTHORIZATION = "authorization"


class SourcesOfRoute:
    """Finds what the dependencies that a route injects into its endpoint read.

    Dependencies of the router, which inject nothing, are not among them. It keeps the answer for
    the last route, since an endpoint has hardly more than one.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, Sources] = (None, Sources())

    def __call__(self, route: Any) -> Sources:
        """The headers and cookies."""
        known, sources = self._last
        if known is not route:
            sources = _sources(getattr(route, "dependant", None))
            self._last = (route, sources)
            if sources.unbounded is not None:
                log.warning(
                    "answers of %s are not cached: %s takes any header or cookie; name those that "
                    "count in vary_headers",
                    getattr(route, "path", route),
                    sources.unbounded,
                )
        return sources


def _sources(dependant: Any) -> Sources:
    headers: set[str] = set()
    cookies: set[str] = set()
    unbounded: str | None = None
    for each in _injected(dependant):
        headers.update(_header_names(getattr(each, "header_params", ())))
        cookies.update(_names(getattr(each, "cookie_params", ())))
        unbounded = unbounded or _unbounded(each)
        # Security schemes read the request by themselves.
        scheme: Any = getattr(getattr(each, "call", None), "model", None)
        place = getattr(getattr(scheme, "in_", None), "value", None)
        if place == "header":
            headers.add(scheme.name.lower())
        elif place == "cookie":
            cookies.add(scheme.name)
    names = tuple(sorted(headers - {_AUTHORIZATION}))
    return Sources(names, tuple(sorted(cookies)), unbounded)


def _unbounded(dependant: Any) -> str | None:
    """A model of headers or cookies that takes others than those it declares."""
    for place in ("header_params", "cookie_params"):
        for field in getattr(dependant, place, ()):
            model = _model_of(field)
            if model is not None and model.model_config.get("extra") == "allow":
                return str(model.__name__)
    return None


def _model_of(field: Any) -> Any:
    """The model of a parameter that stands for several headers or cookies, or None."""
    info = getattr(field, "field_info", None)
    kind = getattr(info, "annotation", getattr(field, "type_", None))
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) and hasattr(kind, "model_fields") else None


def _model_names(model: Any) -> Iterator[tuple[str, bool]]:
    """The names by which a model is filled, and whether each is an alias.

    A model can take a value by several names, so that all of them count.
    """
    for name, info in model.model_fields.items():
        yield name, False
        for alias in (info.alias, info.validation_alias):
            for choice in getattr(alias, "choices", (alias,)):
                if isinstance(choice, str):
                    yield choice, True


def _names(fields: Iterable[Any]) -> Iterator[str]:
    for field in fields:
        model = _model_of(field)
        if model is None:
            yield field.alias
        else:
            yield from (name for name, _ in _model_names(model))


def _header_names(fields: Iterable[Any]) -> Iterator[str]:
    for field in fields:
        model = _model_of(field)
        if model is None:
            yield field.alias.lower()
            continue
        for name, is_alias in _model_names(model):
            info = getattr(field, "field_info", None)
            if not is_alias and getattr(info, "convert_underscores", True):
                name = name.replace("_", "-")
            yield name.lower()


def _injected(dependant: Any) -> Iterator[Any]:
    for each in getattr(dependant, "dependencies", ()):
        if getattr(each, "name", None):
            yield from _with_own(each)


def _with_own(dependant: Any) -> Iterator[Any]:
    yield dependant
    for each in getattr(dependant, "dependencies", ()):
        yield from _with_own(each)
