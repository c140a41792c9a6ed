"""How one function is cached: its keys, rules and namespace, and the steps of a call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal

from larder_cache.codecs import Codec
from larder_cache.results import Deleted, Loaded, NotStored, Result, Stored

from ._drive import drive, settle
from .callbacks import Callback, is_coroutine_function
from .calls import Call, CallKey, CallKeys
from .codecs import codec_of_returns
from .handles import Home
from .options import Moment, Rules, ask
from .unstored import UnstoredLog
from .users import UserOf

Binding = Literal["function", "class", "static"]


class Plan:
    """The steps of the calls of one function.

    They are coroutines, which never suspend for a blocking function.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        keys: CallKeys,
        rules: Rules,
        home: Home,
        codec: Codec | None,
        user_of: UserOf | None,
        fetching: dict[str, Any],
        binding: Binding = "function",
    ) -> None:
        self.function = function
        self.keys = keys
        self.rules = rules
        self.home = home
        self.binding = binding
        self.is_async = is_coroutine_function(function)
        self._codec = codec
        self._unstored = UnstoredLog(keys.name)
        self._user_of = user_of
        #: Options of get_or_fetch, such as the longest wait.
        self._fetching = fetching
        if not self.is_async:
            refuse_async(keys.name, *rules.callbacks, keys.key_builder)

    @functools.cached_property
    def codec(self) -> Codec:
        """The codec; that of the annotation is found late, when all names of a module are set."""
        return self._codec if self._codec is not None else codec_of_returns(self.function)

    def original(self, bound: tuple[object, ...]) -> Callable[..., Any]:
        """The function itself, as a method if it is bound."""
        return functools.partial(self.function, *bound) if bound else self.function

    async def fetch(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, refresh: bool = False
    ) -> Any:
        """The value from the cache, else of the function."""
        if not self.rules.is_enabled():
            return await self._called(args, kwargs)
        moment = self._moment(args, kwargs)
        key = None if await self.rules.skips(moment) else await self._key(moment)
        if key is None:
            return await self._called(args, kwargs)

        async def load() -> Loaded[Any]:
            value = self._checked(await self._called(args, kwargs))
            return await self.rules.loaded(moment, value, value)

        result = await settle(
            self.home.handle(self.codec).get_or_fetch(
                key.key,
                load if self.is_async else functools.partial(self._load, load),
                params=key.params,
                refresh=refresh or await self.rules.refreshes(moment),
                **self._fetching,
            )
        )
        self._unstored.note(result)
        if not result.found:
            # An origin of the server may have no value; the function is what was called.
            return await self._called(args, kwargs)
        return result.value

    async def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self.function(*args, **kwargs)
        return await result if self.is_async else result

    def _checked(self, value: Any) -> Any:
        """The value. Raises TypeError for what can be used only once."""
        if inspect.isgenerator(value) or inspect.isasyncgen(value) or inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError(
                f"{self.keys.name} returned a {type(value).__name__}, which can be used only once "
                "and cannot be cached"
            )
        return value

    def _load(self, load: Callable[[], Any]) -> Any:
        return drive(load(), self.keys.name)

    async def get(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Result[Any]:
        """A read of the cache."""
        key = await self.key_of(args, kwargs)
        handle = self.home.handle(self.codec)
        result: Result[Any] = await settle(handle.get(key.key, params=key.params))
        return result

    async def set(
        self, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Stored | NotStored:
        """Stores a value, with the TTL and tags that the rules give it."""
        moment = self._moment(args, kwargs)
        key = await self._required_key(moment)
        stored: Stored | NotStored = await settle(
            self.home.handle(self.codec).set(
                key.key,
                value,
                params=key.params,
                ttl=await self.rules.lifetime(moment, value),
                tags=await self.rules.labels(moment, value),
            )
        )
        return stored

    async def invalidate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Deleted:
        """Deletes the entry of a call."""
        key = await self.key_of(args, kwargs)
        handle = self.home.handle(self.codec)
        deleted: Deleted = await settle(handle.delete(key.key, params=key.params))
        return deleted

    async def invalidate_all(self) -> None:
        """Invalidates the entries of all calls."""
        glob = self.keys.glob()
        await settle(self.home.handle(self.codec).invalidate(globs=[glob]))

    async def key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallKey:
        """The key of a call. Raises ValueError for a call without a user if it needs one."""
        return await self._required_key(self._moment(args, kwargs))

    async def _required_key(self, moment: Moment) -> CallKey:
        key = await self._key(moment)
        if key is None:
            raise ValueError(f"the call of {self.keys.name} has no user, so that it has no key")
        return key

    async def _key(self, moment: Moment) -> CallKey | None:
        """The key of a call, or None if it must not be cached, because it has no user."""
        builder = self.keys.key_builder
        if builder is None:
            key = self.keys.key(moment.subject)
        else:
            key = self.keys.built_key(await ask(builder, moment))
        if self._user_of is None:
            return key
        return await self._user_of.add_to(key, moment)

    def _moment(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Moment:
        call: Call = self.keys.bind(args, kwargs)
        more = {
            "call": call,
            "function": self.function,
            "func": self.function,
            "namespace": self.home.name,
            "args": args,
            "kwargs": kwargs,
        }
        return Moment(call, more, call)


def refuse_async(name: str, *callbacks: Callback | None) -> None:
    """Raises TypeError for coroutine functions among the options of a blocking function."""
    for callback in callbacks:
        if callback is not None and callback.is_async:
            raise TypeError(
                f"{callback.option} is a coroutine function, but {name} is a blocking function"
            )


def refuse_generators(function: Any) -> None:
    """Raises TypeError for what a cache cannot hold: generators."""
    called = getattr(function, "__call__", None)  # noqa: B004
    for each in (function, called):
        if inspect.isasyncgenfunction(each) or inspect.isgeneratorfunction(each):
            name = getattr(function, "__qualname__", repr(function))
            kind = (
                "an asynchronous generator" if inspect.isasyncgenfunction(each) else "a generator"
            )
            raise TypeError(
                f"{name} is {kind}, which can be read only once: return a list of its items"
            )
