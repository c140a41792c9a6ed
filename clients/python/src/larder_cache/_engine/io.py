"""The interface between the logic and the two ways to run it: threads, and event loops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Protocol

from larder_cache._transport.methods import Method
from larder_cache._transport.tokens import Metadata
from larder_cache.results import Result, Stored


def lasting(result: Result[Any]) -> bool:
    """Whether a result is an answer to calls that began later than its computation.

    A stored fill is: the server refuses it after an invalidation.
    """
    return result.degraded or isinstance(result.stored, Stored)


class Flight(Protocol):
    """A computation that later calls for the same key join."""

    async def compute(self, work: Coroutine[Any, Any, Result[Any]]) -> Result[Any]:
        """Runs the work so that it outlives the caller while others have joined."""
        ...


Lead = Callable[[Flight], Coroutine[Any, Any, Result[Any]]]
Work = Callable[[], Coroutine[Any, Any, None]]


class Stopper(Protocol):
    """Ends something that repeats."""

    def stop(self) -> None:
        """No further repetition begins."""
        ...


class Io(Protocol):
    """The surroundings of the logic."""

    closed: bool

    async def invoke(
        self, method: Method, request: Any, timeout: float | None, metadata: Metadata
    ) -> Any:
        """One call. A stream is read to its end and returned as a list."""
        ...

    def reconnect(self) -> None:
        """The next call has a new connection."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...

    async def load(self, loader: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a loader of the user."""
        ...

    async def fly(self, key: Hashable, lead: Lead, timeout: float | None) -> Result[Any] | None:
        """Joins the flight of the key, or leads one. None if the time is over before it ends."""
        ...

    def forget(self, namespace: str, key: str | None) -> None:
        """Later calls do not join the flights of a key, or of a namespace, of now."""
        ...

    def every(self, first: float, step: Callable[[], Awaitable[float | None]]) -> Stopper:
        """Runs `step` after `first` seconds, then after those that it returns, until None."""
        ...

    def background(self, work: Work) -> bool:
        """Runs work in the background. False if there is too much of it."""
        ...

    async def detached(self, work: Work) -> None:
        """Runs short work that must be done though the caller is being cancelled."""
        ...
