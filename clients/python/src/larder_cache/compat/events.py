"""Events of the business: the rules of the server and the functions of this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from larder_cache import default_async_client
from larder_cache.decorators._drive import settle

from .settings import is_enabled
from .store import ERRORS

log = logging.getLogger("larder_cache")

F = TypeVar("F", bound=Callable[..., Any])

_subscribers: dict[str, list[Callable[..., Any]]] = {}


def subscribe(name: str) -> Callable[[F], F]:
    """Registers a function for an event of this process: ``@subscribe("points_changed")``.

    It gets the attributes of each event, and can be a coroutine function.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be text, not {name!r}: @subscribe('points_changed')")

    def register(function: F) -> F:
        _subscribers.setdefault(name, []).append(function)
        return function

    return register


def unsubscribe(name: str, function: Callable[..., Any]) -> None:
    """Removes a function. Raises ValueError if it is not registered."""
    _subscribers.get(name, []).remove(function)


async def publish_event(name: str, attributes: Mapping[str, Any] | None = None) -> None:
    """Invalidates what the rules of the server select for the event, then calls the subscribers.

    Attributes are sent as text. The errors of the cache and of subscribers are logged; all
    subscribers are called.
    """
    given = dict(attributes or {})
    if is_enabled(default=True):
        try:
            await default_async_client().publish_event(
                name, {key: str(value) for key, value in given.items()}
            )
        except ERRORS as error:
            log.error("the event %r was not published, old values may stay: %s", name, error)
    for function in tuple(_subscribers.get(name, ())):
        try:
            await settle(function(dict(given)))
        except Exception:
            # One subscriber must not keep the others from invalidating.
            log.exception("a subscriber of %r failed", name)
