"""Cached views of Flask."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from flask import Flask, Response, copy_current_request_context, current_app, g, request, session
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from larder_cache.decorators.callbacks import is_coroutine_function

from .caching_rules import Headers, kept_headers
from .endpoint import Endpoint
from .endpoint_options import endpoint_options
from .handle import CachedEndpoint, Helpers, attach, bound
from .options import EndpointArguments, GivenOptions, with_defaults
from .stored import StoredResponse
from .visit import Captured

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")


def cached_endpoint(
    namespace: str, **options: Unpack[EndpointArguments]
) -> Callable[[Callable[P, R]], CachedEndpoint[P, R]]:
    """Caches the answers of a view. It stands below ``@app.route`` and ``@login_required``.

    See the documentation of `larder_cache.http.cached_endpoint` for the options.
    """
    given = with_defaults(namespace, options)

    def decorate(view: Callable[P, R]) -> CachedEndpoint[P, R]:
        return decorate_view(view, given)

    return decorate


def decorate_view(view: Callable[P, R], given: GivenOptions) -> CachedEndpoint[P, R]:
    """The cached view of these options. Asynchronous views run as Flask runs them."""
    endpoint = Endpoint(endpoint_options(view, given, is_async=False), is_async=False)
    is_async = is_coroutine_function(view)

    def visit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> FlaskVisit:
        return FlaskVisit(endpoint, view, args, kwargs, is_async=is_async)

    @functools.wraps(view)
    def cached_view(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = endpoint.drive(visit(args, kwargs))
        return result

    if is_async:
        # Flask would take the view for the coroutine function that it wraps.
        del cached_view.__wrapped__
    return attach(cached_view, Helpers(endpoint, view, visit))


class FlaskVisit:
    """A request of Flask."""

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
        self._app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        self._view = self._app.ensure_sync(view) if is_async else view
        self.args = args
        self.kwargs = kwargs
        self.arguments = bound(view, args, kwargs)
        # The proxy would be empty in another thread.
        self.request = request._get_current_object()  # type: ignore[attr-defined]
        self._thread = threading.get_ident()
        self._in_background = copy_current_request_context(self._run_here)
        self._sets_cookie = False

    @property
    def method(self) -> str:
        return str(self.request.method)

    def header(self, name: str) -> str | None:
        found = self.request.headers.getlist(name)
        return ", ".join(found) if found else None

    def implied(self) -> Sequence[tuple[str, str]]:
        return ()

    def query(self) -> list[tuple[str, str]]:
        return list(self.request.args.items(multi=True))

    def key_arguments(self, listed: Sequence[str] | None) -> Mapping[str, Any]:
        return self.arguments

    def own_query(self, listed: Sequence[str] | None) -> bool:
        return True

    async def body(self) -> tuple[bytes, str]:
        return self.request.get_data(cache=True), self.request.mimetype

    async def user(self) -> Any:
        login = self._app.extensions.get("login_manager") or getattr(
            self._app, "login_manager", None
        )
        if login is not None:
            from flask_login import current_user

            return current_user.get_id() if current_user.is_authenticated else None
        return next((v for n in ("user_id", "user", "current_user") if (v := g.get(n))), None)

    def root(self, name: str) -> Any:
        if name == "g":
            return g
        if name == "session":
            return dict(session)
        return self.arguments.get(name, getattr(self.request, name, None))

    async def run(self) -> Any:
        if threading.get_ident() != self._thread:
            return self._in_background()
        return self._run_here()

    def _run_here(self) -> Any:
        # Flask saves the session, hence sets its cookie, after the view.
        was_modified = _is_session_modified()
        result = self._view(*self.args, **self.kwargs)
        self._sets_cookie = _is_session_modified() and not was_modified
        if self._endpoint.options.values is not None and not is_response(result):
            return result
        return self._app.make_response(result)

    def is_answer(self, error: Exception) -> bool:
        if not isinstance(error, HTTPException):
            return False
        code = error.code or (error.response.status_code if error.response is not None else 500)
        return code < 500

    def capture(self, result: Any) -> Captured:
        if self._sets_cookie:
            return Captured(None, reason="it changes the session, which sets a cookie")
        if not isinstance(result, WerkzeugResponse):
            return Captured(result)
        headers: Headers = list(result.headers.items())
        if result.is_streamed or result.direct_passthrough:
            return Captured(None, result.status_code, headers, "it is streamed")
        stored = StoredResponse(result.status_code, kept_headers(headers), result.get_data())
        return Captured(stored, result.status_code, headers)

    def finish(self, result: Any, headers: Mapping[str, str]) -> Any:
        response = self._app.make_response(result)
        for name, value in headers.items():
            response.headers[name] = value
        return response

    def answer(self, content: Any, headers: Mapping[str, str]) -> Any:
        if isinstance(content, StoredResponse):
            made = Response(content.body, content.status, headers=content.headers)
            return self.finish(made, headers)
        return self.finish(content, headers)

    def not_modified(self, headers: Headers) -> Any:
        return Response(status=304, headers=headers)


def _is_session_modified() -> bool:
    """Whether the session is changed. A look through the proxy would make Flask vary by cookie."""
    held = vars(request_ctx._get_current_object())  # type: ignore[attr-defined]
    return bool(getattr(held.get("_session", held.get("session")), "modified", False))


def is_response(result: Any) -> bool:
    """Whether a view returned more than a plain value: a response, or a tuple with a status."""
    return isinstance(result, (WerkzeugResponse, tuple)) or callable(result)
