"""Cached endpoints of FastAPI and Starlette."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from larder_cache.codecs import Codec
from larder_cache.decorators.callbacks import is_coroutine_function
from larder_cache.decorators.users import user_id

from .caching_rules import Headers, kept_headers
from .endpoint import Endpoint
from .endpoint_options import endpoint_options
from .handle import AsyncCachedEndpoint, AsyncHelpers, attach_async
from .options import EndpointArguments, GivenOptions, with_defaults
from .starlette_shape import REQUEST, RESPONSE, Shape
from .stored import StoredResponse, StoredValue
from .visit import Captured

if TYPE_CHECKING:
    from typing_extensions import Unpack

_USERS = ("current_user", "user", "user_id")


def cached_endpoint(
    namespace: str, **options: Unpack[EndpointArguments]
) -> Callable[[Callable[..., Any]], AsyncCachedEndpoint]:
    """Caches the answers of an endpoint. It stands below the decorator of the router.

    Blocking endpoints run in the thread pool of the framework. See the documentation of
    `larder_cache.http.cached_endpoint` for the options.
    """
    given = with_defaults(namespace, options)
    return functools.partial(decorate_endpoint, given=given)


def decorate_endpoint(function: Callable[..., Any], given: GivenOptions) -> AsyncCachedEndpoint:
    """The cached endpoint of these options."""
    endpoint = Endpoint(endpoint_options(function, given, is_async=True), is_async=True)
    shape = Shape(function, inject=True)
    serve_bytes = given.get("serve_bytes", False)

    def visit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> StarletteVisit:
        return StarletteVisit(endpoint, shape, args, kwargs, serve_bytes=serve_bytes)

    @functools.wraps(function)
    async def cached(*args: Any, **kwargs: Any) -> Any:
        return await endpoint.serve(visit(args, kwargs))

    # A framework that looks through wrappers would take it for a blocking function.
    del cached.__wrapped__
    cached.__signature__ = shape.signature  # type: ignore[attr-defined]
    return attach_async(cached, AsyncHelpers(endpoint, function, visit, shape))


class StarletteVisit:
    """A request of FastAPI or Starlette."""

    def __init__(
        self,
        endpoint: Endpoint,
        shape: Shape,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        serve_bytes: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._shape = shape
        self._serve_bytes = serve_bytes
        added_request = kwargs.pop(REQUEST, None)
        added_response = kwargs.pop(RESPONSE, None)
        self.args = args
        self.kwargs = kwargs
        self.arguments = shape.bind(args, kwargs)
        self.request: Request = added_request or self._found_request()
        self._response: Response | None = added_response or (
            self.arguments[shape.response_name] if shape.response_name else None
        )
        self._route: Any = self.request.scope.get("route")
        self.holds = shape.has_dependencies
        self._session_before: Any = None

    def _found_request(self) -> Request:
        for value in self.arguments.values():
            if isinstance(value, Request):
                return value
        raise TypeError(
            f"{self._endpoint.options.name} got no request: a cached endpoint is called by the "
            "framework; its function is the attribute original"
        )

    @property
    def method(self) -> str:
        return str(self.request.method)

    @property
    def codec(self) -> Codec | None:
        if self._endpoint.options.values is not None:
            return None
        if not hasattr(self._route, "response_model"):
            return None
        from .models import model_codec

        return model_codec(
            self._route.response_model,
            bool(getattr(self._route, "response_model_exclude_unset", False)),
        )

    def header(self, name: str) -> str | None:
        found = self.request.headers.getlist(name)
        return ", ".join(found) if found else None

    def implied(self) -> Sequence[tuple[str, str]] | None:
        sources = self._shape.sources(self._route)
        if sources.unbounded is not None:
            return None
        headers = [(f"header:{name}", self.header(name) or "") for name in sources.headers]
        cookies = self.request.cookies
        return headers + [(f"cookie:{name}", cookies.get(name, "")) for name in sources.cookies]

    def query(self) -> list[tuple[str, str]]:
        declared = self._shape.declared_query(self.request.path_params)
        return [item for item in self.request.query_params.multi_items() if item[0] not in declared]

    def key_arguments(self, listed: Sequence[str] | None) -> Mapping[str, Any]:
        found = self._shape.key_arguments(self.arguments, listed, self.request.path_params)
        for name, value in self.request.path_params.items():
            # An endpoint of Starlette reads its path from the request.
            found.setdefault(name, value)
        return found

    def own_query(self, listed: Sequence[str] | None) -> bool:
        return listed is not None or self._shape.reads_request

    async def body(self) -> tuple[bytes, str] | None:
        if not self._shape.reads_body:
            return None
        media_type = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            return await self.request.body(), media_type
        except RuntimeError:
            # The framework has read a form; the arguments hold it.
            return None

    async def user(self) -> Any:
        state, scope = self.request.state, self.request.scope
        found = next((v for n in _USERS if (v := self.arguments.get(n)) is not None), None)
        if found is None:
            found = next((v for n in _USERS if (v := getattr(state, n, None)) is not None), None)
        return user_id(scope.get("user") if found is None else found)

    def root(self, name: str) -> Any:
        if name in self.arguments:
            return self.arguments[name]
        if name == "user":
            return self.request.scope.get("user", getattr(self.request.state, "user", None))
        if name == "session":
            return self.request.scope.get("session")
        return getattr(self.request, name, None)

    async def run(self) -> Any:
        function = self._shape.function
        self._session_before = self._session()
        if is_coroutine_function(function):
            result = await function(*self.args, **self.kwargs)
        else:
            result = await run_in_threadpool(function, *self.args, **self.kwargs)
        if self._serve_bytes and not isinstance(result, Response):
            return self._rendered(result)
        return result

    def _session(self) -> Any:
        """A copy of the session as it is now; None for none."""
        found = self.request.scope.get("session")
        return copy.deepcopy(dict(found)) if isinstance(found, Mapping) else None

    def _rendered(self, result: Any) -> Response:
        from .rendering import rendered

        return rendered(self._route, result, self._response)

    def is_answer(self, error: Exception) -> bool:
        return isinstance(error, HTTPException) and error.status_code < 500

    def capture(self, result: Any) -> Captured:
        if any(isinstance(v, BackgroundTasks) and v.tasks for v in self.arguments.values()):
            return Captured(None, reason="it has tasks for the background")
        if self._session() != self._session_before:
            # The middleware of the session sets its cookie after the endpoint.
            return Captured(None, reason="it changes the session")
        if not isinstance(result, Response):
            return self._captured_value(result)
        headers = decoded(result)
        body = getattr(result, "body", None)
        if not isinstance(body, (bytes, memoryview)):
            return Captured(None, result.status_code, headers, "it is streamed")
        if result.background is not None:
            return Captured(None, result.status_code, headers, "it has tasks for the background")
        stored = StoredResponse(result.status_code, kept_headers(headers), bytes(body))
        return Captured(stored, result.status_code, headers)

    def _captured_value(self, result: Any) -> Captured:
        own = self._response
        status = (own and own.status_code) or getattr(self._route, "status_code", None) or 200
        headers = decoded(own) if own is not None else []
        kept = kept_headers(headers)
        return Captured(StoredValue(kept, result) if kept else result, status, headers)

    def finish(self, result: Any, headers: Mapping[str, str]) -> Any:
        target = result if isinstance(result, Response) else self._response
        if target is not None:
            for name, value in headers.items():
                target.headers[name] = value
        return result

    def answer(self, content: Any, headers: Mapping[str, str]) -> Any:
        if isinstance(content, StoredResponse):
            made = Response(content.body, content.status)
            made.raw_headers += encoded(content.headers)
            return self.finish(made, headers)
        if isinstance(content, StoredValue):
            if self._response is not None:
                self._response.raw_headers += encoded(content.headers)
            content = content.value
        return self.finish(content, headers)

    def not_modified(self, headers: Headers) -> Any:
        made = Response(status_code=304)
        made.raw_headers = encoded(headers)
        return made


def decoded(response: Response) -> Headers:
    """The headers of a response as text, without those that Starlette makes for each."""
    return [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers
    ]


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers in the form of ASGI."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
