"""`cached_endpoint` for all frameworks: it finds the one that a function is written for."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .options import EndpointArguments, Framework, GivenOptions, with_defaults

if TYPE_CHECKING:
    from typing_extensions import Unpack

_FRAMEWORKS: tuple[Framework, ...] = ("fastapi", "starlette", "flask", "django")


def cached_endpoint(
    namespace: str,
    *,
    framework: Framework | None = None,
    **options: Unpack[EndpointArguments],
) -> Callable[[Callable[..., Any]], Any]:
    """Caches the answers of an endpoint of FastAPI, Starlette, Flask or Django.

    It stands below the decorator of the router, so that it decorates the function itself. Without
    ``framework``, that is the framework of the types of its parameters, else the only one that the
    program has imported. The functions of the same name in `larder_cache.http.fastapi`,
    `.starlette`, `.flask` and `.django` are for one framework.

    An answer is stored if its status is one of ``statuses``, it sets no cookie, and its
    Cache-Control permits it. A request with Authorization is answered from the cache only with
    ``cache_by_user`` or ``cache_authorized``. All query parameters are part of the key, unless
    ``vary_query_params`` lists those that are.

    Raises TypeError or ValueError, which name the option, when the function is decorated.
    """
    given = with_defaults(namespace, options)
    if framework is not None and framework not in _FRAMEWORKS:
        raise ValueError(f"framework must be one of {', '.join(_FRAMEWORKS)}, not {framework!r}")

    def decorate(function: Callable[..., Any]) -> Any:
        return _decorate(framework or framework_of(function), function, given)

    return decorate


def _decorate(framework: Framework, function: Callable[..., Any], given: GivenOptions) -> Any:
    # The frameworks are optional, so that each module is imported only if it is used.
    if framework == "flask":
        from . import flask

        return flask.decorate_view(function, given)
    if framework == "django":
        from . import django

        return django.decorate_view(function, given)
    from . import starlette

    return starlette.decorate_endpoint(function, given)


def framework_of(function: Callable[..., Any]) -> Framework:
    """The framework that a function is written for. Raises TypeError if that is not clear."""
    for kind in _kinds(function):
        root = kind.__module__.partition(".")[0]
        if root == "werkzeug":
            return "flask"
        for framework in _FRAMEWORKS:
            if root == framework:
                return framework
    loaded: list[Framework] = [name for name in _FRAMEWORKS if name in sys.modules]
    if "fastapi" in loaded:
        # FastAPI is made of Starlette.
        loaded.remove("starlette")
    if len(loaded) == 1:
        return loaded[0]
    found = ", ".join(loaded) or "none"
    raise TypeError(
        f"the framework of {getattr(function, '__qualname__', function)} is not clear "
        f"({found} imported): name it with framework="
    )


def _kinds(function: Callable[..., Any]) -> list[type]:
    """The classes of the annotations and of the defaults."""
    try:
        hints = list(typing.get_type_hints(function, include_extras=True).values())
    except (NameError, TypeError, AttributeError):
        hints = []
    defaults = [
        *(getattr(function, "__defaults__", None) or ()),
        *(getattr(function, "__kwdefaults__", None) or {}).values(),
    ]
    kinds = [type(default) for default in defaults]
    for hint in hints:
        kinds += [part for part in (hint, *typing.get_args(hint)) if isinstance(part, type)]
        kinds += [type(part) for part in getattr(hint, "__metadata__", ())]
    return kinds
