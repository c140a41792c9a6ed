"""Cached views of Django, blocking and asynchronous."""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase

from larder_cache.decorators.users import user_id

from .caching_rules import Headers, kept_headers
from .endpoint import Endpoint
from .endpoint_options import endpoint_options
from .handle import AsyncHelpers, Helpers, attach, attach_async, bound
from .options import EndpointArguments, GivenOptions, with_defaults
from .stored import StoredResponse
from .visit import Captured

if TYPE_CHECKING:
    from typing_extensions import Unpack


def cached_endpoint(
    namespace: str, **options: Unpack[EndpointArguments]
) -> Callable[[Callable[..., Any]], Any]:
    """Caches the answers of a view.

    For a view class, it decorates ``as_view()`` or, by ``method_decorator``, a method. See the
    documentation of `larder_cache.http.cached_endpoint` for the options.
    """
    return _Decorator(with_defaults(namespace, options))


def decorate_view(view: Callable[..., Any], given: GivenOptions) -> Any:
    """The cached view of these options."""
    return _Decorator(given)(view)


class _Decorator:
    """Decorates views. `method_decorator` calls it with the same method again and again."""

    def __init__(self, given: GivenOptions) -> None:
        self._given = given
        self._endpoints: weakref.WeakKeyDictionary[Any, Endpoint] = weakref.WeakKeyDictionary()

    def __call__(self, view: Callable[..., Any]) -> Any:
        # Django marks the view of a class with asynchronous methods, which is itself a function.
        is_async = iscoroutinefunction(view)
        method = inspect.unwrap(view) if isinstance(view, functools.partial) else view
        endpoint = self._endpoints.get(method)
        if endpoint is None:
            options = endpoint_options(view, self._given, is_async=is_async)
            endpoint = self._endpoints[method] = Endpoint(options, is_async=is_async)
        return _decorated(view, endpoint, is_async=is_async)


def _decorated(view: Callable[..., Any], endpoint: Endpoint, *, is_async: bool) -> Any:
    def visit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> DjangoVisit:
        return DjangoVisit(endpoint, view, args, kwargs, is_async=is_async)

    if is_async:

        @functools.wraps(view)
        async def cached_async_view(*args: Any, **kwargs: Any) -> Any:
            return await endpoint.serve(visit(args, kwargs))

        return attach_async(cached_async_view, AsyncHelpers(endpoint, view, visit, skipped=1))

    @functools.wraps(view)
    def cached_view(*args: Any, **kwargs: Any) -> Any:
        return endpoint.drive(visit(args, kwargs))

    return attach(cached_view, Helpers(endpoint, view, visit, skipped=1))


class DjangoVisit:
    """A request of Django."""

    holds = False
    codec = None

    def __init__(
        self,
        endpoint: Endpoint,
        view: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        is_async: bool,
    ) -> None:
        self._endpoint = endpoint
        self._view = view
        self._is_async = is_async
        self.args = args
        self.kwargs = kwargs
        self.request = _request_of(args, endpoint.options.name)
        self.arguments = {
            name: value
            for name, value in bound(view, args, kwargs).items()
            if not isinstance(value, HttpRequest) and name not in ("self", "args")
        }
        self._thread = threading.get_ident()
        self._sets_cookie = False

    @property
    def method(self) -> str:
        return str(self.request.method)

    def header(self, name: str) -> str | None:
        return self.request.headers.get(name)

    def implied(self) -> Sequence[tuple[str, str]]:
        return ()

    def query(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self.request.GET.lists() for value in values]

    def key_arguments(self, listed: Sequence[str] | None) -> Mapping[str, Any]:
        return self.arguments

    def own_query(self, listed: Sequence[str] | None) -> bool:
        return True

    async def body(self) -> tuple[bytes, str]:
        return self.request.body, (self.request.content_type or "").lower()

    async def user(self) -> Any:
        if self._is_async and hasattr(self.request, "auser"):
            user: Any = await self.request.auser()
        else:
            user = getattr(self.request, "user", None)
        return user_id(user)

    def root(self, name: str) -> Any:
        if name == "session":
            session = getattr(self.request, "session", None)
            return None if session is None else dict(session)
        return self.arguments.get(name, getattr(self.request, name, None))

    async def run(self) -> Any:
        is_elsewhere = threading.get_ident() != self._thread
        session = getattr(self.request, "session", None)
        was_modified = bool(session is not None and session.modified)
        try:
            result = self._view(*self.args, **self.kwargs)
            if self._is_async:
                result = await result
            await self._render(result)
        finally:
            if is_elsewhere and not self._is_async:
                # Connections belong to a thread, and Django closes only those of requests.
                connections.close_all()
        sets_csrf_cookie = bool(self.request.META.get("CSRF_COOKIE_NEEDS_UPDATE"))
        is_modified = bool(session is not None and session.modified)
        self._sets_cookie = sets_csrf_cookie or (is_modified and not was_modified)
        return result

    async def _render(self, result: Any) -> None:
        if not callable(getattr(result, "render", None)) or result.is_rendered:
            return
        if self._is_async:
            await sync_to_async(result.render, thread_sensitive=True)()
        else:
            result.render()

    def is_answer(self, error: Exception) -> bool:
        return isinstance(error, (Http404, PermissionDenied, SuspiciousOperation, BadRequest))

    def capture(self, result: Any) -> Captured:
        if self._sets_cookie:
            return Captured(None, reason="it changes the session or sets the CSRF cookie")
        if not isinstance(result, HttpResponseBase):
            return Captured(result)
        headers: Headers = list(result.items())
        if result.cookies:
            return Captured(None, result.status_code, headers, "it sets a cookie")
        if not isinstance(result, HttpResponse):
            return Captured(None, result.status_code, headers, "it is streamed")
        stored = StoredResponse(result.status_code, kept_headers(headers), bytes(result.content))
        return Captured(stored, result.status_code, headers)

    def finish(self, result: Any, headers: Mapping[str, str]) -> Any:
        for name, value in headers.items():
            result[name] = value
        return result

    def answer(self, content: Any, headers: Mapping[str, str]) -> Any:
        if not isinstance(content, StoredResponse):
            return self.finish(content, headers)
        made = HttpResponse(content.body, status=content.status)
        for name, value in content.headers:
            made[name] = value
        return self.finish(made, headers)

    def not_modified(self, headers: Headers) -> Any:
        made = HttpResponseNotModified()
        for name, value in headers:
            made[name] = value
        return made


def _request_of(args: tuple[Any, ...], name: str) -> HttpRequest:
    for value in args[:2]:
        if isinstance(value, HttpRequest):
            return value
    raise TypeError(
        f"{name} got no request: a cached view is called by Django; its function is the attribute "
        "original"
    )
