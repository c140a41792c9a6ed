"""A request that is only described, for the helpers of cached endpoints outside of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from larder_cache.codecs import Codec

from .caching_rules import Headers
from .visit import Captured


class ArgumentShape(Protocol):
    """Finds the arguments of an endpoint that can be part of its key."""

    def key_arguments(
        self, arguments: Mapping[str, Any], listed: Sequence[str] | None, path: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The arguments that are."""
        ...

    def probable_path(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the path."""
        ...


class Variant(NamedTuple):
    """A request, as far as it distinguishes the answers of an endpoint, besides its arguments.

    ``query`` and ``headers`` are those of the request, ``user`` is the id, and ``body`` comes with
    its media type. ``request`` is what a key builder gets. ``implied`` are the headers and cookies
    that injected arguments are made of, such as ``("header:x-tenant", "a")``.
    """

    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    user: Any = None
    method: str = "GET"
    body: tuple[bytes, str] | None = None
    request: Any = None
    implied: Sequence[tuple[str, str]] = ()


class DescribedVisit:
    """A request with these arguments and this variant. It has a key, and no endpoint runs."""

    holds = False

    def __init__(
        self,
        variant: Variant,
        arguments: Mapping[str, Any],
        shape: ArgumentShape | None,
        codec: Codec | None,
    ) -> None:
        self._variant = variant
        self._headers = {name.lower(): value for name, value in variant.headers.items()}
        self._shape = shape
        self.codec = codec
        self.known_user = variant.user
        self.request = variant.request
        self.arguments = arguments
        self.args: tuple[Any, ...] = ()
        self.kwargs: Mapping[str, Any] = arguments

    @property
    def method(self) -> str:
        return self._variant.method.upper()

    def header(self, name: str) -> str | None:
        return self._headers.get(name.lower())

    def implied(self) -> Sequence[tuple[str, str]]:
        return self._variant.implied

    def query(self) -> list[tuple[str, str]]:
        return list(self._variant.query)

    def key_arguments(self, listed: Sequence[str] | None) -> Mapping[str, Any]:
        if self._shape is None:
            return self.arguments
        path = self._shape.probable_path(self.arguments)
        return self._shape.key_arguments(self.arguments, listed, path)

    def own_query(self, listed: Sequence[str] | None) -> bool:
        return True

    async def body(self) -> tuple[bytes, str] | None:
        return self._variant.body

    async def user(self) -> Any:
        return self.known_user

    def root(self, name: str) -> Any:
        return self.arguments.get(name)

    async def run(self) -> Any:
        raise RuntimeError("a described request has no endpoint to run")

    def is_answer(self, error: Exception) -> bool:
        return False

    def capture(self, result: Any) -> Captured:
        return Captured(result)

    def finish(self, result: Any, headers: Mapping[str, str]) -> Any:
        return result

    def answer(self, content: Any, headers: Mapping[str, str]) -> Any:
        return content

    def not_modified(self, headers: Headers) -> Any:
        return None
