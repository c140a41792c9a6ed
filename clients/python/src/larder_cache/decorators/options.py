"""The options of the decorators, checked when a function is decorated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from larder_cache import durations
from larder_cache.durations import Duration, Forever
from larder_cache.errors import InvalidArgument
from larder_cache.results import Loaded

from ._drive import settle
from .callbacks import Callback, Offer, optional
from .canonical import NotCanonical
from .templates import Template

Ttl = Duration | Forever | None | Callable[..., Any]
"""Seconds, a ``timedelta``, text such as ``"5m"``, ``FOREVER``, None (the namespace's), or a
function of the call, or of the call and its result, that returns one of these."""

Tags = Sequence[str] | Callable[..., Sequence[str] | Awaitable[Sequence[str]]]
"""Texts, which may be templates such as ``"user:{user_id}"``, or a function of the call, or of the
call and its result, that returns texts."""

Switch = bool | Callable[..., Any]
"""True, False, or a function that returns one."""


class Moment(NamedTuple):
    """A call as callbacks see it: the subject comes first, and ``more`` has all by name."""

    subject: Any
    more: dict[str, Any]
    #: The arguments that templates may name.
    arguments: Any

    def with_result(self, result: Any) -> dict[str, Any]:
        """All by name, with the result of the call."""
        return {**self.more, "result": result, "response": result}


class Rules(NamedTuple):
    """When a call is cached, for how long and with which tags."""

    ttl: Duration | Forever | Callback | None
    tags: tuple[Template, ...] | Callback
    enabled: Switch
    skip: Callback | None
    store_if: Callback | None
    refresh: bool | Callback
    cache_none: bool

    @property
    def callbacks(self) -> list[Callback]:
        """All options that are functions of a call."""
        found = [self.ttl, self.tags, self.skip, self.store_if, self.refresh]
        return [item for item in found if isinstance(item, Callback)]

    def is_enabled(self) -> bool:
        """Whether caching is on at this moment."""
        return bool(self.enabled() if callable(self.enabled) else self.enabled)

    async def skips(self, moment: Moment) -> bool:
        """Whether this call does without the cache."""
        return self.skip is not None and bool(await ask(self.skip, moment))

    async def refreshes(self, moment: Moment) -> bool:
        """Whether this call computes its value even if there is one."""
        if isinstance(self.refresh, Callback):
            return bool(await ask(self.refresh, moment))
        return self.refresh

    async def stores(self, moment: Moment, result: Any) -> bool:
        """Whether the result may be cached."""
        if result is None and not self.cache_none:
            return False
        if self.store_if is None:
            return True
        more = moment.with_result(result)
        return bool(await settle(self.store_if.call(result, moment.subject, more=more)))

    async def lifetime(self, moment: Moment, result: Any) -> Any:
        """The TTL of the result."""
        if not isinstance(self.ttl, Callback):
            return self.ttl
        chosen = await ask(self.ttl, moment, result)
        return checked_ttl(chosen, f"the result of {self.ttl.option}")

    async def labels(self, moment: Moment, result: Any) -> tuple[str, ...]:
        """The tags of the result."""
        if isinstance(self.tags, Callback):
            labels = await ask(self.tags, moment, result)
            if labels is None:
                return ()
            if isinstance(labels, (str, bytes)):
                raise TypeError(f"tags must return a sequence of texts, such as [{labels!r}]")
            return tuple(labels)
        return tuple(tag.render(moment.arguments, _refuse_tag)[0] for tag in self.tags)

    async def loaded(self, moment: Moment, result: Any, stored_as: Any) -> Loaded[Any]:
        """The value for the cache: ``stored_as`` with its TTL and tags, if it may be stored."""
        if not await self.stores(moment, result):
            return Loaded(stored_as, store=False)
        ttl = await self.lifetime(moment, result)
        return Loaded(stored_as, ttl, await self.labels(moment, result))


async def ask(callback: Callback, moment: Moment, *results: Any) -> Any:
    """The answer of a callback about a call, or about a call and its result."""
    more = moment.with_result(results[0]) if results else moment.more
    return await settle(callback.call(moment.subject, *results, more=more))


def _refuse_tag(argument: str, error: NotCanonical) -> Exception:
    return ValueError(f"tags: the argument {argument} has no text: {error}")


def rules(
    offer: Offer,
    *,
    ttl: Ttl,
    timeout: Ttl = None,
    expire: Ttl = None,
    ttl_function: Callable[..., Any] | None = None,
    tags: Tags = (),
    enabled: Switch = True,
    skip_cache_fn: Callable[..., Any] | None = None,
    cache_if: Callable[..., Any] | None = None,
    forced_update: Switch = False,
    refresh: Switch = False,
    cache_none: bool = True,
) -> Rules:
    """The rules of these options. Raises TypeError or ValueError, which name the option.

    ``offer`` is what callbacks get before the result is there.
    """
    after = offer._replace(values=(*offer.values, "result"))
    judged = offer._replace(values=("result", *offer.values))
    lifetime = one_of(ttl=ttl, timeout=timeout, expire=expire, ttl_function=ttl_function)
    return Rules(
        ttl=None if lifetime is None else _ttl(*lifetime, after),
        tags=_tags(tags, after, offer.arguments),
        enabled=_switch("enabled", enabled),
        skip=optional("skip_cache_fn", skip_cache_fn, offer),
        store_if=optional("cache_if", cache_if, judged),
        refresh=_update(one_of(forced_update=forced_update, refresh=refresh), offer),
        cache_none=cache_none,
    )


def one_of(**options: Any) -> tuple[str, Any] | None:
    """The name and value of the only option that is given. Raises TypeError if there are two."""
    given = [item for item in options.items() if item[1] is not None and item[1] is not False]
    if len(given) > 1:
        raise TypeError(f"{given[0][0]} and {given[1][0]} are two names of one option: give one")
    return given[0] if given else None


def _ttl(option: str, value: Any, after: Offer) -> Any:
    if callable(value) or option == "ttl_function":
        return Callback(option, value, after)
    return checked_ttl(value, option)


def fetching(max_stale: Any, fetch_timeout: Any) -> dict[str, Any]:
    """The options of get_or_fetch. Raises TypeError or InvalidArgument, which name the option."""
    found: dict[str, Any] = {}
    for option, argument, value in [
        ("max_stale", "max_stale", max_stale),
        ("fetch_timeout", "timeout", fetch_timeout),
    ]:
        if value is not None:
            found[argument] = durations.seconds(value, option)
            if found[argument] < 0:
                raise InvalidArgument(f"{option} must not be negative, not {value!r}")
    return found


def checked_ttl(value: Any, option: str) -> Any:
    """The TTL if it is one. Raises TypeError or InvalidArgument, which name the option."""
    if value is None or isinstance(value, (Forever, timedelta)):
        return value
    return durations.seconds(value, option)


def _tags(tags: Tags, after: Offer, names: Sequence[str]) -> Any:
    if callable(tags):
        return Callback("tags", tags, after)
    if isinstance(tags, (str, bytes)):
        raise TypeError(f"tags must be a sequence of texts, such as [{tags!r}]")
    templates = tuple(Template(tag, option="tags") for tag in tags)
    for template in templates:
        template.require(names)
    return templates


def _switch(option: str, value: Any) -> Any:
    if not isinstance(value, bool) and not callable(value):
        raise TypeError(f"{option} must be True, False or a function, not {value!r}")
    return value


def _update(update: tuple[str, Any] | None, offer: Offer) -> Any:
    if update is None:
        return False
    option, value = update
    return Callback(option, value, offer) if callable(value) else _switch(option, value)
