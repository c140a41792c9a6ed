"""Options that are functions: how they are called, checked when they are given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Offer(NamedTuple):
    """The values that callbacks can get.

    ``values`` come in the order in which a function gets them by position, ``more`` by name only.
    ``arguments`` are those of the decorated function.
    """

    values: tuple[str, ...]
    more: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


class Callback:
    """A function given as an option, called with what its parameters ask for.

    If all its required parameters have names of the offer, it gets these by name, so that builders
    with the parameters of other libraries work as they are. Otherwise it gets the values by
    position. ``args`` without ``kwargs`` is the call itself.
    """

    __slots__ = ("_by_name", "_count", "function", "is_async", "option")

    def __init__(self, option: str, function: Callable[..., Any], offer: Offer) -> None:
        if not callable(function):
            raise TypeError(f"{option} must be a function, not {function!r}")
        self.option = option
        self.function = function
        self.is_async = is_coroutine_function(function)
        #: Pairs of a parameter and where its value comes from, or None: by position.
        self._by_name: list[tuple[str, str, bool]] | None = None
        self._count = 0
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            # Some functions written in C have no signature: they get the first value.
            self._count = 1
            return
        self._choose(parameters, offer)

    def _choose(self, parameters: list[inspect.Parameter], offer: Offer) -> None:
        named = {p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY}
        required = [
            p
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        sources = {name: (name, True) for name in offer.arguments}
        sources.update((name, (name, False)) for name in (*offer.more, *offer.values))
        if "args" in sources and "kwargs" not in named:
            sources["args"] = (offer.values[0], False)
        if required and all(p.name in sources and p.name in named for p in required):
            self._by_name = [(name, *sources[name]) for name in named if name in sources]
            return
        keyword_only = [p.name for p in required if p.kind not in _POSITIONAL]
        if keyword_only:
            raise TypeError(
                f"{self.option} requires the parameter {keyword_only[0]!r}; "
                f"there are: {', '.join(sources)}"
            )
        if len(required) > len(offer.values):
            raise TypeError(
                f"{self.option} requires {len(required)} arguments; "
                f"it gets at most {len(offer.values)}: {', '.join(offer.values)}"
            )
        takes_more = any(p.kind is p.VAR_POSITIONAL or p.kind in _POSITIONAL for p in parameters)
        self._count = len(required) or int(takes_more)

    def call(self, *values: Any, more: dict[str, Any]) -> Any:
        """Calls the function with its choice of the values.

        ``values`` come in the order of the offer, and ``more`` has all by name.
        """
        if self._by_name is None:
            return self.function(*values[: self._count])
        arguments: Any = more.get("call")
        return self.function(
            **{
                name: arguments[source] if is_argument else more[source]
                for name, source, is_argument in self._by_name
            }
        )


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function.

    That of a partial is its own, also if it is marked as a wrapper of another function.
    """
    return inspect.signature(function, follow_wrapped=not isinstance(function, functools.partial))


def is_coroutine_function(function: Any) -> bool:
    """Whether calling this returns a coroutine, also for objects with an async ``__call__``."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def optional(option: str, function: Any, offer: Offer) -> Callback | None:
    """The callback, or None for None."""
    return None if function is None else Callback(option, function, offer)
