"""The decorated functions of the cases about the keys of calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from larder_cache.decorators import cached

Functions = dict[str, Any]


def _blocking(runs: Counter[str]) -> Functions:
    def f(a: Any, b: Any = 2, *, c: Any) -> Any:
        runs["f"] += 1
        return {"a": a, "b": b, "c": c}

    def v(value: Any) -> None:
        runs["v"] += 1

    def user(user_id: Any, page: Any = 1) -> None:
        runs["user"] += 1

    def g(a: Any, db: Any) -> None:
        runs["g"] += 1

    def pair(a: Any, b: Any) -> None:
        runs["pair"] += 1

    return {"f": f, "v": v, "user": user, "g": g, "pair": pair}


def _asynchronous(runs: Counter[str]) -> Functions:
    blocking = _blocking(runs)

    async def f(a: Any, b: Any = 2, *, c: Any) -> Any:
        return blocking["f"](a, b, c=c)

    async def v(value: Any) -> None:
        blocking["v"](value)

    async def user(user_id: Any, page: Any = 1) -> None:
        blocking["user"](user_id, page)

    async def g(a: Any, db: Any) -> None:
        blocking["g"](a, db)

    async def pair(a: Any, b: Any) -> None:
        blocking["pair"](a, b)

    return {"f": f, "v": v, "user": user, "g": g, "pair": pair}


_OPTIONS: dict[str, dict[str, Any]] = {
    "f": {"name": "f"},
    "v": {"name": "v"},
    "user": {"key": "user:{user_id}"},
    "g": {"name": "g", "ignore": ("db",)},
    "pair": {"key": "{a}:{b}"},
}


class DecoratedFunctions:
    """The functions on one namespace, with the number of times that each has run."""

    def __init__(self, namespace: Any, asynchronous: bool) -> None:
        self.runs: Counter[str] = Counter()
        made = (_asynchronous if asynchronous else _blocking)(self.runs)
        self._functions: dict[str, Callable[..., Any]] = {
            name: cached(ttl=60, namespace=namespace, **_OPTIONS[name])(function)
            for name, function in made.items()
        }

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._functions[name]
