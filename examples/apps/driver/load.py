"""Simulated users: they read and change, and every answer is checked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp

from .changes import CHANGES, Change, Shown
from .choices import Choices
from .endpoints import BY_QUERY, READS, Call
from .freshness import Revisions, Staleness
from .window import Window

#: Seconds after which a user gives up. No query takes as long.
PATIENCE = 10.0

#: The share of the users' requests that change something.
CHANGES_SHARE = 0.03


#: An answer within this share of the time of its query has waited for none.
SHORT = 0.8


class Answer(NamedTuple):
    """What a user saw."""

    began: float
    seconds: float
    label: str
    service: str
    #: 0: there was no answer.
    status: int
    #: Whether it came from the cache; None for a change.
    cached: bool | None
    error: str | None
    stale: Staleness | None
    #: Seconds that its query takes.
    delay: float

    @property
    def fault(self) -> str | None:
        """What is wrong with it, or None."""
        if self.error is not None:
            return self.error
        return None if self.stale is None else self.stale.text

    @property
    def hit(self) -> bool:
        """Whether it came from the cache, without a wait for the query of another request."""
        return bool(self.cached) and self.seconds < self.delay * SHORT

    def is_shared(self, away: Window) -> bool:
        """Whether it is stale because it shared a query while the cache was away."""
        if self.stale is None or not away.begin <= self.began < away.end:
            return False
        return self.began < self.stale.since + self.delay * 1.5


class Shop:
    """The services, as users see them."""

    def __init__(
        self, session: aiohttp.ClientSession, services: Mapping[str, str], delays: dict[str, float]
    ) -> None:
        self._session = session
        self._services = services
        self._delays = delays
        self.revisions = Revisions()
        self.answers: list[Answer] = []

    async def read(self, call: Call, service: str) -> Answer:
        """One read."""
        endpoint = BY_QUERY[call.query]
        answer, _ = await self._ask(endpoint.label, call, service, self._delays[call.query])
        return answer

    async def show(self, shown: Shown) -> list[Answer]:
        """Reads from each of the services, to see a change."""
        call, services = shown
        return await asyncio.gather(*(self.read(call, service) for service in services))

    async def change(self, change: Change, call: Call, service: str) -> None:
        """One change, and the reads that must show it."""
        answer, document = await self._ask(change.label, call, service, None)
        if answer.error is None:
            for shown in change.note(self.revisions, call, document):
                await self.show(shown)

    async def _ask(
        self, label: str, call: Call, service: str, delay: float | None
    ) -> tuple[Answer, Any]:
        required = self.revisions.required(call.shows)
        began, clock = time.time(), time.perf_counter()
        status, cache, document, error, stale = 0, None, None, None, None
        try:
            async with self._session.request(
                call.method,
                self._services[service] + call.path,
                json=call.json,
                headers={"authorization": f"Bearer user-{call.user}"},
            ) as response:
                status, cache = response.status, response.headers.get("x-cache")
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        seconds = time.perf_counter() - clock
        if error is None and status != 200:
            error = f"status {status}: {body[:300]!r}"
        if error is None:
            document = json.loads(body)
            stale = self.revisions.staleness(call.shows, required, document)
        cached = None if delay is None else _is_cached(cache, seconds, delay)
        answer = Answer(began, seconds, label, service, status, cached, error, stale, delay or 0.0)
        self.answers.append(answer)
        return answer, document


def _is_cached(x_cache: str | None, seconds: float, delay: float) -> bool:
    # Endpoints that cache in a function below them have no X-Cache.
    return seconds < delay * SHORT if x_cache is None else x_cache in ("HIT", "STALE")


async def be_user(shop: Shop, choices: Choices, stop: asyncio.Event, pause: float) -> None:
    """Reads, and at times changes something, until `stop` is set."""
    weights = [endpoint.weight for endpoint in READS]
    change_weights = [change.weight for change in CHANGES]
    while not stop.is_set():
        if choices.chance(CHANGES_SHARE):
            change = choices.by_weight(list(CHANGES), change_weights)
            await shop.change(change, change.call(choices), choices.one_of(*change.services))
        else:
            endpoint = choices.by_weight(list(READS), weights)
            service = choices.one_of(*endpoint.services)
            await shop.read(endpoint.call(choices), service)
        try:
            await asyncio.wait_for(stop.wait(), choices.pause(pause))
        except TimeoutError:
            continue
