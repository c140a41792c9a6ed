"""Decorated functions: called as before, with the cache in front of them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from larder_cache.results import Deleted, NotStored, Result, Stored

from ._drive import drive
from .calls import CallKey
from .plan import Plan

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")


class _Decorated:
    """The common part of blocking and asynchronous functions."""

    def __init__(self, plan: Plan) -> None:
        functools.update_wrapper(cast("Any", self), plan.function)
        self._plan = plan
        self._bound: tuple[object, ...] = ()

    def __set_name__(self, owner: type, name: str) -> None:
        if self._plan.binding != "static":
            self._plan.keys.mark_method()

    def _bind_to(self, instance: object, owner: type | None) -> Any:
        binding = self._plan.binding
        target = owner if binding == "class" else instance
        if binding == "static" or target is None:
            return self
        # A copy, since methods are bound at each access, and most of the work is in the plan.
        method = object.__new__(type(self))
        method.__dict__.update(self.__dict__, _bound=(target,))
        return method

    def __reduce__(self) -> str:
        # By name, as functions are: the copy is the decorated function of the other process.
        return self._plan.function.__qualname__

    def __repr__(self) -> str:
        return f"<cached {self._plan.function!r}>"

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallKey:
        coroutine = self._plan.key_of(self._bound + args, kwargs)
        return drive(coroutine, self._plan.keys.name)


class CachedFunction(_Decorated, Generic[P, R]):
    """A cached blocking function or method."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns the value from the cache, else that of the function, which is then stored."""
        result: R = self._run(self._plan.fetch(self._bound + args, kwargs))
        return result

    @overload
    def __get__(self, instance: None, owner: type, /) -> CachedFunction[P, R]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, Q], R], instance: object, owner: type | None = None, /
    ) -> CachedFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        return self._bind_to(instance, owner)

    @property
    def original(self) -> Callable[P, R]:
        """The function without the cache."""
        return self._plan.original(self._bound)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> CallKey:
        """The key and params of this call."""
        return self._key(args, kwargs)

    def get(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """The result of a read of the cache for this call. The function does not run."""
        found: Result[R] = self._run(self._plan.get(self._bound + args, kwargs))
        return found

    def set(self, value: R, *args: P.args, **kwargs: P.kwargs) -> Stored | NotStored:
        """Stores the value of this call, with the TTL and the tags of the decorator."""
        stored: Stored | NotStored = self._run(self._plan.set(value, self._bound + args, kwargs))
        return stored

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Deleted:
        """Deletes the value of this call. Raises LarderError if the cache cannot do it."""
        deleted: Deleted = self._run(self._plan.invalidate(self._bound + args, kwargs))
        return deleted

    def invalidate_all(self) -> None:
        """Invalidates the values of all calls. Raises LarderError if the cache cannot do it."""
        self._run(self._plan.invalidate_all())

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the function even if there is a value, and stores what it returns."""
        result: R = self._run(self._plan.fetch(self._bound + args, kwargs, refresh=True))
        return result

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the function without the cache."""
        result: R = self._plan.function(*self._bound, *args, **kwargs)
        return result

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return drive(coroutine, self._plan.keys.name)


class AsyncCachedFunction(_Decorated, Generic[P, R]):
    """A cached coroutine function or method."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)
        else:
            self._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns the value from the cache, else that of the function, which is then stored."""
        result: R = await self._plan.fetch(self._bound + args, kwargs)
        return result

    @overload
    def __get__(self, instance: None, owner: type, /) -> AsyncCachedFunction[P, R]: ...
    @overload
    def __get__(
        self: AsyncCachedFunction[Concatenate[Any, Q], R],
        instance: object,
        owner: type | None = None,
        /,
    ) -> AsyncCachedFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        return self._bind_to(instance, owner)

    @property
    def original(self) -> Callable[P, Coroutine[Any, Any, R]]:
        """The function without the cache."""
        return self._plan.original(self._bound)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> CallKey:
        """The key and params of this call. Not with an asynchronous key builder: see `key_of`."""
        return self._key(args, kwargs)

    async def key_of(self, *args: P.args, **kwargs: P.kwargs) -> CallKey:
        """The key and params of this call."""
        return await self._plan.key_of(self._bound + args, kwargs)

    async def get(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """The result of a read of the cache for this call. The function does not run."""
        found: Result[R] = await self._plan.get(self._bound + args, kwargs)
        return found

    async def set(self, value: R, *args: P.args, **kwargs: P.kwargs) -> Stored | NotStored:
        """Stores the value of this call, with the TTL and the tags of the decorator."""
        stored: Stored | NotStored = await self._plan.set(value, self._bound + args, kwargs)
        return stored

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Deleted:
        """Deletes the value of this call. Raises LarderError if the cache cannot do it."""
        deleted: Deleted = await self._plan.invalidate(self._bound + args, kwargs)
        return deleted

    async def invalidate_all(self) -> None:
        """Invalidates the values of all calls. Raises LarderError if the cache cannot do it."""
        await self._plan.invalidate_all()

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the function even if there is a value, and stores what it returns."""
        result: R = await self._plan.fetch(self._bound + args, kwargs, refresh=True)
        return result

    async def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the function without the cache."""
        result: R = await self._plan.function(*self._bound, *args, **kwargs)
        return result
