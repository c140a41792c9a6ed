"""The steps of a request to a cached endpoint, the same for all frameworks."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from larder_cache.codecs import Codec
from larder_cache.decorators._drive import drive, settle
from larder_cache.decorators.calls import CallKey
from larder_cache.decorators.options import Moment
from larder_cache.decorators.unstored import UnstoredLog
from larder_cache.results import Loaded, Result, Stale

from .caching_rules import (
    Headers,
    entity_tag,
    first,
    headers_at_304,
    http_date,
    is_match,
    merged_vary,
    refusal,
    replaced,
    wants_fresh,
)
from .endpoint_keys import EndpointKeys
from .endpoint_options import EndpointOptions
from .options import NO_CACHE
from .recent_keys import RecentKeys
from .stored import EndpointCodec, StoredResponse, StoredValue, Unshareable
from .visit import Captured, Visit

_YEAR = 365 * 86400
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# Steps of the event loop within which work in the background begins.
_STEPS = 4


class _Outcome:
    """The work of the endpoint for this request, if it ran."""

    __slots__ = ("begun", "captured", "ended", "error", "result")

    def __init__(self) -> None:
        self.begun = False
        self.ended = asyncio.Event()
        self.result: Any = None
        self.captured: Captured | None = None
        self.error: Exception | None = None

    async def hold(self) -> None:
        """Waits for the endpoint if it computes a new value in the background for this request."""
        for _ in range(_STEPS):
            if self.begun:
                await self.ended.wait()
                return
            await asyncio.sleep(0)

    @property
    def is_there(self) -> bool:
        return self.captured is not None or self.error is not None


class Endpoint:
    """A cached endpoint. Its steps are coroutines, which never suspend in a blocking framework."""

    def __init__(self, options: EndpointOptions, *, is_async: bool) -> None:
        self.options = options
        self.keys = EndpointKeys(options)
        self._codecs: dict[int, tuple[Codec, EndpointCodec]] = {}
        #: How the framework stores values, once a request has shown it.
        self.known_codec: Codec | None = None
        self._is_async = is_async
        self._unstored = UnstoredLog(options.name)
        self._uncacheable = RecentKeys()

    def drive(self, visit: Visit, *, refresh: bool = False) -> Any:
        """Serves a request of a blocking framework."""
        return drive(self.serve(visit, refresh=refresh), self.options.name)

    async def serve(self, visit: Visit, *, refresh: bool = False) -> Any:
        """The answer to a request. ``refresh``: the endpoint runs even if there is one."""
        options = self.options
        moment = self.moment(visit)
        key = await self._key_or_none(visit, moment)
        if key is None:
            return await self._bypass(visit)
        if visit.method == "HEAD" or (not refresh and self._uncacheable.has(key)):
            # An endpoint may leave out the body for HEAD, so its answer is not for GET.
            found = await self.read(visit, key)
            if found.found:
                return self._answer(visit, key, found)
            return await self._compute_alone(visit, moment, key)
        outcome = _Outcome()

        async def load() -> Loaded[Any]:
            outcome.begun = True
            try:
                return await self._load(visit, moment, key, outcome)
            finally:
                outcome.ended.set()

        result = await settle(
            self.handle(visit).get_or_fetch(
                key.key,
                load if self._is_async else functools.partial(self._load_now, load),
                params=key.params,
                refresh=refresh or await self._refreshes(visit, moment),
                **options.fetching,
            )
        )
        self._unstored.note(result)
        is_stale = result.outcome == Stale.outcome
        if is_stale and visit.holds:
            await outcome.hold()
        if outcome.is_there and not is_stale:
            return self._finish(visit, key, outcome, result)
        if not result.found or isinstance(result.value, Unshareable):
            return await self._compute_alone(visit, moment, key)
        return self._answer(visit, key, result)

    def _load_now(self, load: Any) -> Any:
        return drive(load(), self.options.name)

    def handle(self, visit: Visit) -> Any:
        """The handle of the namespace."""
        values = visit.codec
        if values is None:
            values = self.options.codec
        else:
            self.known_codec = values
        # Calls that are to join each other must have the same codec object.
        _, codec = self._codecs.setdefault(id(values), (values, EndpointCodec(values)))
        return self.options.home.handle(codec)

    async def read(self, visit: Visit, key: CallKey) -> Result[Any]:
        """A read of the cache."""
        found: Result[Any] = await settle(self.handle(visit).get(key.key, params=key.params))
        return found

    def moment(self, visit: Visit) -> Moment:
        """The request as functions among the options see it."""
        more = {
            "request": visit.request,
            "namespace": self.options.home.name,
            "function": self.options.function,
            "func": self.options.function,
            "args": visit.args,
            "kwargs": visit.kwargs,
            "response": None,
            "call": visit.arguments,
        }
        return Moment(visit.request, more, visit.arguments)

    async def _load(
        self, visit: Visit, moment: Moment, key: CallKey, outcome: _Outcome
    ) -> Loaded[Any]:
        try:
            result = await visit.run()
        except Exception as error:
            if not visit.is_answer(error):
                raise
            # A 404 is no failure of the source, which would make other callers wait.
            outcome.error = error
            self._uncacheable.add(key)
            return Loaded(Unshareable(repr(error)), store=False)
        captured = self._captured(visit, result)
        if captured.reason is None:
            loaded = await self.options.rules.loaded(moment, result, captured.content)
        else:
            loaded = Loaded(Unshareable(captured.reason), store=False)
        outcome.result, outcome.captured = result, captured
        if not loaded.store:
            self._uncacheable.add(key)
        return loaded

    def _captured(self, visit: Visit, result: Any) -> Captured:
        captured = visit.capture(result)
        if captured.reason is not None:
            return captured
        options = self.options
        reason = refusal(
            captured.status,
            captured.headers,
            statuses=options.statuses,
            by_user=bool(options.by_user),
            varied=options.headers or _header_names(name for name, _ in visit.implied() or ()),
        )
        return captured if reason is None else captured._replace(reason=reason)

    async def _compute_alone(self, visit: Visit, moment: Moment, key: CallKey) -> Any:
        """Runs the endpoint without a lease. What it returns is not stored.

        A value from before an invalidation could be stored after it. If it may be stored, the next
        request computes under a lease.
        """
        result = await visit.run()
        captured = self._captured(visit, result)
        if captured.reason is None and visit.method != "HEAD":
            loaded = await self.options.rules.loaded(moment, result, captured.content)
            if loaded.store:
                self._uncacheable.discard(key)
        return visit.finish(result, self._headers(key, "MISS", captured.headers))

    async def _bypass(self, visit: Visit) -> Any:
        return visit.finish(await visit.run(), {"X-Cache": "BYPASS"})

    def _finish(self, visit: Visit, key: CallKey, outcome: _Outcome, result: Result[Any]) -> Any:
        """The answer to the request that computed it."""
        if outcome.error is not None:
            raise outcome.error
        assert outcome.captured is not None
        own = outcome.captured.headers
        headers = self._headers(key, "MISS", own, stored=result.stored)
        is_stored = outcome.captured.reason is None
        if is_stored and self._has_it(visit, own, headers):
            return visit.not_modified(headers_at_304(replaced(own, headers)))
        return visit.finish(outcome.result, headers)

    def _answer(self, visit: Visit, key: CallKey, result: Result[Any]) -> Any:
        """The answer from the cache."""
        is_kept = isinstance(result.value, (StoredResponse, StoredValue))
        own: Headers = result.value.headers if is_kept else []
        state = "MISS" if result.joined else result.outcome
        headers = self._headers(key, state, own, found=result)
        if self._has_it(visit, own, headers):
            return visit.not_modified(headers_at_304(replaced(own, headers)))
        return visit.answer(result.value, headers)

    def _has_it(self, visit: Visit, own: Headers, headers: Mapping[str, str]) -> bool:
        tag = headers.get("ETag") or first(own, "etag")
        return visit.method in ("GET", "HEAD") and is_match(visit.header("if-none-match"), tag)

    def _headers(
        self,
        key: CallKey,
        state: str,
        own: Headers,
        *,
        found: Result[Any] | None = None,
        stored: Any = None,
    ) -> dict[str, str]:
        options = self.options
        headers = {"X-Cache": state}
        if options.debug:
            headers["X-Cache-Key"] = _shown_key(key)
        by_cookie = any(name.startswith("cookie:") for name in key.params)
        varied = _header_names(key.params)
        if by_cookie:
            varied.append("cookie")
        if varied:
            headers["Vary"] = merged_vary(first(own, "vary"), varied)
        if found is not None and found.stored:
            # Another request of this process has just stored it.
            stored = found.stored
        if stored:
            version, age, ttl = stored.version, 0.0, stored.ttl
        elif found is not None and not found.joined:
            version, age, ttl = found.version, found.age, found.ttl_remaining
        else:
            return headers
        headers["X-Cache-TTL-Remaining"] = str(int(ttl))
        headers["X-Cache-Date"] = http_date(time.time() - age)
        headers["Age"] = str(int(age))
        if version and first(own, "etag") is None:
            headers["ETag"] = entity_tag(version)
        if options.cache_control and first(own, "cache-control") is None:
            headers["Cache-Control"] = self._cache_control(age + ttl, by_cookie=by_cookie)
        return headers

    def _cache_control(self, lifetime: float, *, by_cookie: bool) -> str:
        chosen = self.options.cache_control
        scope = "private, " if self.options.by_user or by_cookie else ""
        if chosen is True:
            return f"{scope}max-age={min(int(lifetime), _YEAR)}"
        return f"{scope}{NO_CACHE}" if chosen == NO_CACHE else str(chosen)

    async def _refreshes(self, visit: Visit, moment: Moment) -> bool:
        if self.options.honour_no_cache and wants_fresh(
            visit.header("cache-control") or "", visit.header("pragma") or ""
        ):
            return True
        return await self.options.rules.refreshes(moment)

    async def _key_or_none(self, visit: Visit, moment: Moment) -> CallKey | None:
        """The key of a request, or None if it must not be answered from the cache."""
        options = self.options
        if not options.rules.is_enabled() or visit.method not in options.methods:
            return None
        if not options.by_user and not options.cache_authorized and visit.header("authorization"):
            return None
        if await options.rules.skips(moment):
            return None
        return await self.keys.key(visit, moment)


def _header_names(params: Iterable[str]) -> list[str]:
    """The headers among the parameters of a key."""
    return [name.removeprefix("header:") for name in params if name.startswith("header:")]


def _shown_key(key: CallKey) -> str:
    """A key as a header can hold it: ASCII, bounded."""
    text = key.key
    if key.params:
        text += json.dumps(dict(key.params), sort_keys=True, separators=(",", ":"))
    return _CONTROL.sub("?", text.encode("ascii", "backslashreplace").decode())[:1000]
