"""The steps of a request to a cached endpoint, the same for all frameworks."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from larder_cache.codecs import Codec
from larder_cache.decorators._drive import drive, settle
from larder_cache.decorators.calls import CallKey
from larder_cache.decorators.canonical import NotCanonical, canonical
from larder_cache.decorators.errors import uncacheable_argument
from larder_cache.decorators.options import Moment, ask
from larder_cache.decorators.users import USER_PARAM, user_at, user_id
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
from .described import DescribedVisit
from .endpoint_options import EndpointOptions
from .recent_keys import RecentKeys
from .stored import EndpointCodec, StoredResponse, StoredValue, Unshareable
from .visit import Captured, Visit

_YEAR = 365 * 86400

# Steps of the event loop within which work in the background begins.
_STEPS = 4


class _Outcome:
    """What the endpoint did for this request, if it ran."""

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
        self._codecs: dict[int, tuple[Codec, EndpointCodec]] = {}
        #: How the framework stores values, once a request has shown it.
        self.known_codec: Codec | None = None
        self._is_async = is_async
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
            varied=options.headers,
        )
        return captured if reason is None else captured._replace(reason=reason)

    async def _compute_alone(self, visit: Visit, moment: Moment, key: CallKey) -> Any:
        """Runs the endpoint without a lease. What it returns is stored if it may be."""
        result = await visit.run()
        captured = self._captured(visit, result)
        stored = None
        if captured.reason is None and visit.method != "HEAD":
            loaded = await self.options.rules.loaded(moment, result, captured.content)
            if loaded.store:
                self._uncacheable.discard(key)
                stored = await settle(
                    self.handle(visit).set(
                        key.key,
                        loaded.value,
                        params=key.params,
                        ttl=loaded.ttl,
                        tags=loaded.tags,
                    )
                )
        return visit.finish(result, self._headers(key, "MISS", captured.headers, stored=stored))

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
        if options.headers:
            headers["Vary"] = merged_vary(first(own, "vary"), options.headers)
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
            headers["Cache-Control"] = self._cache_control(age + ttl)
        return headers

    def _cache_control(self, lifetime: float) -> str:
        if isinstance(self.options.cache_control, str):
            return self.options.cache_control
        scope = "private, " if self.options.by_user else ""
        return f"{scope}max-age={min(int(lifetime), _YEAR)}"

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
        return await self.key(visit, moment)

    async def key(self, visit: Visit, moment: Moment) -> CallKey | None:
        """The key of a request, or None if it has no user and must have one."""
        options = self.options
        params: dict[str, str] = {}
        if options.by_user:
            user = await self._user(visit, moment)
            if user is None and not options.cache_anonymous:
                return None
            params[USER_PARAM] = "anonymous" if user is None else self._text("user", user)
        if options.key_builder is not None:
            built = await ask_builder(options.key_builder, moment, options.home.name)
            if not isinstance(built, str) or not built:
                raise TypeError(f"key_builder of {options.name} must return a text, not {built!r}")
            key = built
            self._add_query(params, visit, options.query_params or ())
        else:
            key = self._add_arguments(params, visit)
            if visit.own_query(options.query_params):
                self._add_query(params, visit, options.query_params)
        for header in options.headers:
            params[f"header:{header}"] = visit.header(header) or ""
        if visit.method not in ("GET", "HEAD"):
            params["@method"] = visit.method
            body = None if options.key_builder is not None else await visit.body()
            if body is not None:
                params["@body"] = body_digest(*body)
        return CallKey(key, params)

    def _add_arguments(self, params: dict[str, str], visit: Visit) -> str:
        options = self.options
        shown: frozenset[str] = frozenset()
        key = options.name
        if options.template is not None:
            key, unclear = options.template.render(visit.arguments, self.refuse)
            shown = options.template.names - unclear
        for name, value in visit.key_arguments(options.query_params).items():
            if name not in shown and name not in options.ignore:
                params[name] = self._text(name, value)
        return key

    def _add_query(
        self, params: dict[str, str], visit: Visit, listed: tuple[str, ...] | None
    ) -> None:
        values: dict[str, list[str]] = {}
        for name, value in visit.query():
            if (listed is None or name in listed) and name not in self.options.ignore:
                values.setdefault(name, []).append(value)
        for name, found in values.items():
            params[f"query:{name}"] = self._text(name, found)

    async def _user(self, visit: Visit, moment: Moment) -> Any:
        by_user = self.options.by_user
        if isinstance(visit, DescribedVisit):
            return visit.known_user
        if by_user is True:
            return user_id(await settle(visit.user()))
        if isinstance(by_user, str):
            root, _, path = by_user.partition(".")
            found = visit.root(root)
            if found is None:
                return None
            return user_at(path, found) if path else user_id(found)
        assert not isinstance(by_user, bool)
        return await ask(by_user, moment)

    def _text(self, name: str, value: Any) -> str:
        try:
            return canonical(value)
        except NotCanonical as error:
            raise self.refuse(name, error) from None

    def refuse(self, name: str, error: NotCanonical) -> Exception:
        """The error for an argument that cannot be part of a key."""
        return uncacheable_argument(self.options.name, name, error)


async def ask_builder(builder: Any, moment: Moment, namespace: str) -> Any:
    """The key that a builder makes of a request and a namespace."""
    return await settle(builder.call(moment.subject, namespace, more=moment.more))


def body_digest(body: bytes, media_type: str) -> str:
    """The SHA-256 of a body in hex. Equal JSON has one digest, whatever its order and spaces."""
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            body = canonical(json.loads(body)).encode()
        except (ValueError, RecursionError):
            # The endpoint says what is wrong with it; it is a body as any other here.
            pass
    return hashlib.sha256(body).hexdigest()


def _shown_key(key: CallKey) -> str:
    """A key as a header can hold it: ASCII, bounded."""
    text = key.key
    if key.params:
        text += json.dumps(dict(key.params), sort_keys=True, separators=(",", ":"))
    return text.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")[:1000]
