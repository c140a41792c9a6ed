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
from .endpoints import READS, Call, Endpoint
from .freshness import Revisions, staleness

#: Seconds after which a user gives up. No query takes as long.
PATIENCE = 10.0

#: The share of the users' requests that change something.
CHANGES_SHARE = 0.03


class Answer(NamedTuple):
    """What a user saw."""

    began: float
    seconds: float
    label: str
    service: str
    #: 0: there was no answer.
    status: int
    #: Whether it came from the cache; None for a change.
    hit: bool | None
    error: str | None
    stale: str | None


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

    async def read(self, endpoint: Endpoint, call: Call, service: str) -> Answer:
        """One read."""
        answer, _ = await self._ask(endpoint.label, call, service, self._delays[endpoint.query])
        return answer

    async def show(self, shown: Shown) -> list[Answer]:
        """Reads from each of the services, to see a change."""
        call, services = shown
        asked = (self._ask("reads after a change", call, service, None) for service in services)
        return [answer for answer, _ in await asyncio.gather(*asked)]

    async def change(self, change: Change, call: Call, service: str) -> list[Shown]:
        """One change. Returns the reads that must show it; none if it failed."""
        answer, document = await self._ask(change.label, call, service, None)
        if answer.error is not None:
            return []
        return change.note(self.revisions, call, document)

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
            stale = staleness(call.shows, required, document)
        hit = None if delay is None else _is_hit(cache, seconds, delay)
        answer = Answer(began, seconds, label, service, status, hit, error, stale)
        self.answers.append(answer)
        return answer, document


def _is_hit(cache: str | None, seconds: float, delay: float) -> bool:
    if cache is not None:
        return cache in ("HIT", "STALE")
    # Some endpoints cache in a function below them: an answer without a query takes less than one.
    return seconds < delay * 0.8


async def be_user(shop: Shop, choices: Choices, stop: asyncio.Event, pause: float) -> None:
    """Reads, and at times changes something, until `stop` is set."""
    weights = [endpoint.weight for endpoint in READS]
    change_weights = [change.weight for change in CHANGES]
    while not stop.is_set():
        if choices.chance(CHANGES_SHARE):
            change = choices.by_weight(list(CHANGES), change_weights)
            call = change.call(choices)
            for shown in await shop.change(change, call, choices.one_of(*change.services)):
                await shop.show(shown)
        else:
            endpoint = choices.by_weight(list(READS), weights)
            service = choices.one_of(*endpoint.services)
            await shop.read(endpoint, endpoint.call(choices), service)
        try:
            await asyncio.wait_for(stop.wait(), choices.pause(pause))
        except TimeoutError:
            continue
