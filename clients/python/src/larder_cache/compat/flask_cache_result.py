"""The decorator ``cache_result`` of the replaced module of a Flask application."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from flask import current_app, has_request_context, request

from larder_cache.decorators import cache_result as cache_function
from larder_cache.http.flask import cached_endpoint

from .function_keys import is_keyable
from .settings import is_enabled

log = logging.getLogger("larder_cache")

P = ParamSpec("P")
R = TypeVar("R")

#: The namespace of functions without a prefix.
NAMESPACE = "flask"


class _HasEnvironType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return hasattr(instance, "environ")


class HasEnviron(metaclass=_HasEnvironType):
    """Requests of Flask: what has an environ is left out of keys."""


def cache_result(
    timeout: Any = 300, key_prefix: str = "", **options: Any
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Caches what a function returns, and what a view answers, for ``timeout`` seconds.

    A view, that is what Flask calls for a request, is cached as by
    `larder_cache.http.flask.cached_endpoint`, for GET and POST: its arguments, the query and the
    body are its key. Any other function is cached as by `larder_cache.decorators.cache_result`. It
    is off unless REDIS_ENABLED is ``true``, as it was. A call with an argument that no key can hold
    is not cached; the log names the argument. The namespace is the begin of ``key_prefix``:
    ``areas`` for ``areas:``.
    """
    namespace = options.pop("namespace", None) or key_prefix.partition(":")[0] or NAMESPACE
    shared = {"enabled": functools.partial(is_enabled, default=False), **options}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = f"{key_prefix}{function.__name__}"
        if not key_prefix:
            name = f"{function.__module__}:{function.__qualname__}"
        cached = cache_function(
            timeout, name=name, namespace=namespace, **{"ignore": (HasEnviron,), **shared}
        )(function)
        cached_view = cached_endpoint(
            namespace, ttl=timeout, name=name, methods=("GET", "HEAD", "POST"), **shared
        )(function)
        reported = is_keyable(cached)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            if has_request_context() and _is_view(wrapper):
                return cached_view(*args, **kwargs)
            if not reported(args, kwargs):
                return function(*args, **kwargs)
            return cached(*args, **kwargs)

        wrapper.function = cached  # type: ignore[attr-defined]
        wrapper.view = cached_view  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _is_view(function: Callable[..., Any]) -> bool:
    """Whether Flask has called this function for the request, also within other decorators."""
    view = current_app.view_functions.get(request.endpoint or "")
    found = False

    def is_it(candidate: Any) -> bool:
        nonlocal found
        found = found or candidate is function
        return found

    if view is not None:
        inspect.unwrap(view, stop=is_it)
    return found
