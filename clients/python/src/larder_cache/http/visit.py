"""One request to a cached endpoint, as the frameworks' glue shows it to the logic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from larder_cache.codecs import Codec

from .caching_rules import Headers


class Captured(NamedTuple):
    """The part of an answer that can be stored, or the reason why nothing is."""

    content: Any
    status: int = 200
    headers: Headers = []
    reason: str | None = None


class Visit(Protocol):
    """A request. All that is a coroutine is done at once in a blocking framework."""

    @property
    def request(self) -> Any:
        """The request of the framework, for functions among the options."""
        ...

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments of the endpoint by name: what templates may name."""
        ...

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments by position."""
        ...

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The arguments by keyword."""
        ...

    @property
    def holds(self) -> bool:
        """Whether what the endpoint uses ends with the request, such as injected sessions.

        The request then waits for a new value that it computes, although it has a stale one.
        """
        ...

    @property
    def codec(self) -> Codec | None:
        """How values are stored; None: as the options have it."""
        ...

    @property
    def method(self) -> str:
        """The method in upper case."""
        ...

    def header(self, name: str) -> str | None:
        """A header of the request; several of one name are joined by commas."""
        ...

    def implied(self) -> Sequence[tuple[str, str]] | None:
        """The headers, as ``header:<name>``, and cookies that arguments left out are made of.

        None if it may be any of them.
        """
        ...

    def query(self) -> list[tuple[str, str]]:
        """The query parameters, in their order."""
        ...

    def key_arguments(self, listed: Sequence[str] | None) -> Mapping[str, Any]:
        """The arguments that are part of the key.

        ``listed`` are the query parameters that are, None for all of them.
        """
        ...

    def own_query(self, listed: Sequence[str] | None) -> bool:
        """Whether the query itself is part of the key, besides the arguments."""
        ...

    async def body(self) -> tuple[bytes, str] | None:
        """The body, and its media type in lower case. None: it is no part of the key."""
        ...

    async def user(self) -> Any:
        """The user of the framework; None for none."""
        ...

    def root(self, name: str) -> Any:
        """Where the path of a user begins, such as ``current_user`` or ``state``."""
        ...

    async def run(self) -> Any:
        """Runs the endpoint. Returns what it returns."""
        ...

    def is_answer(self, error: Exception) -> bool:
        """Whether the error is an answer to the client, such as 404, rather than a failure."""
        ...

    def capture(self, result: Any) -> Captured:
        """The part of a result that can be stored."""
        ...

    def finish(self, result: Any, headers: Mapping[str, str]) -> Any:
        """The result of the endpoint with these headers."""
        ...

    def answer(self, content: Any, headers: Mapping[str, str]) -> Any:
        """The answer for a stored value."""
        ...

    def not_modified(self, headers: Headers) -> Any:
        """An answer 304."""
        ...
