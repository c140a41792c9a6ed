"""The phases of a run."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from larder_cache import AsyncClient

from database.seed import COMPANIES, seed

from . import endpoints
from .changes import READERS, RECALCULATION
from .choices import Choices
from .endpoints import FASTAPI, READS, Call
from .figures import queries
from .fleet import APPS, Fleet, Settings, start_all
from .fleet_stats import FleetStats
from .load import PATIENCE, Shop, be_user
from .processes import Process, accepts
from .window import Window


@dataclass(frozen=True, slots=True)
class Plan:
    """How long the phases take, in seconds, and how many users there are."""

    #: After this time the run is given up.
    limit: float
    #: Requests to each endpoint without the cache.
    before: int
    #: Time of the load before it is measured, while the cache fills.
    warm_up: float
    load: float
    #: Before an outage, while it lasts, and after it.
    calm: float
    redis_away: float
    replica_away: float
    recovery: float
    #: Users at the same time, how long they pause on average, and how many there are in all.
    users: int
    pause: float
    population: int
    companies: int
    #: Properties that are valued, and addresses that are analyzed.
    properties: int


FULL = Plan(
    limit=480,
    before=5,
    warm_up=15,
    load=50,
    calm=4,
    redis_away=12,
    replica_away=8,
    recovery=10,
    users=24,
    pause=0.08,
    population=60,
    companies=COMPANIES,
    properties=30,
)
QUICK = Plan(
    limit=180,
    before=3,
    warm_up=4,
    load=10,
    calm=2,
    redis_away=4,
    replica_away=3,
    recovery=5,
    users=16,
    pause=0.05,
    population=20,
    companies=12,
    properties=12,
)


@dataclass(slots=True)
class Outage:
    """An outage under load: when it was, and what happened when."""

    window: Window
    events: dict[float, str]

    @property
    def away(self) -> Window:
        """From the end of the process until nothing of the outage is left."""
        return Window(min(self.events), self.window.end)


class Run:
    """One run, from the start of Redis to the last check."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self.settings = settings
        self.plan = plan
        self.fleet = Fleet(settings)
        self.delays = {
            name: delay * settings.delay_scale / 1000
            for name, delay in json.loads((APPS / "database/delays.json").read_text()).items()
        }
        self._running: list[Process] = []

    def prepare(self) -> None:
        """Makes the database."""
        seed(self.settings.database)

    def stop(self) -> None:
        """Ends all processes."""
        for process in self._running:
            process.stop()
        self._running = []
        self.fleet.stop()

    @asynccontextmanager
    async def shop(self, *, cache: bool):
        """The services, started, and ended afterwards."""
        services = self.fleet.services(cache=cache)
        self._running = list(services.values())
        await start_all(self._running)
        urls = {name: f"http://{process.address}" for name, process in services.items()}
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            yield Shop(session, urls, self.delays)
        for process in self._running:
            process.stop()
        self._running = []

    async def serve(self, ports: Mapping[str, int]) -> None:
        """Starts everything, for requests by hand, and waits until it is cancelled."""
        for name, port in ports.items():
            if accepts(port):
                raise RuntimeError(f"the port {port} of {name} is in use")
        await self.fleet.start()
        services = self.fleet.services(cache=True, ports=ports)
        self._running = list(services.values())
        await start_all(self._running)
        for name, process in services.items():
            print(f"{name:8} http://{process.address}")
        print(f"larder   {', '.join(replica.address for replica in self.fleet.replicas)}")
        print(f"redis    {self.fleet.redis.address}")
        print("Ctrl-C ends all.", flush=True)
        await asyncio.Event().wait()

    async def before(self) -> Shop:
        """Reads each endpoint some times without the cache."""
        async with self.shop(cache=False) as shop:
            choices = self._choices(1)

            async def ask(endpoint: endpoints.Endpoint) -> None:
                for number in range(self.plan.before):
                    service = endpoint.services[number % len(endpoint.services)]
                    await shop.read(endpoint.call(choices), service)

            await asyncio.gather(*map(ask, READS))
        return shop

    async def sharing(self, shop: Shop) -> list[str]:
        """Reads the same data from all services in turn: one of them queries, the others do not.

        Returns what is wrong.
        """
        faults = []
        for endpoint in READS:
            if len(endpoint.services) == 1:
                continue
            # Keys that the load does not use.
            call = _SHARED[endpoint.query]
            for first in range(len(endpoint.services)):
                if first == 1 and endpoint.query == "companies":
                    break
                begin = time.time()
                order = endpoint.services[first:] + endpoint.services[:first]
                seen = [await shop.read(call(300 + first), name) for name in order]
                faults += [f"{endpoint.label}: {a.fault}" for a in seen if a.fault is not None]
                ran = queries(self.settings.query_log, Window(begin, time.time() + 1))
                if ran[endpoint.query] != 1:
                    faults.append(
                        f"{endpoint.label} by {', '.join(order)}: "
                        f"{ran[endpoint.query]} queries instead of 1"
                    )
        return faults

    @asynccontextmanager
    async def load(self, shop: Shop):
        """Users who read and change things, until the end of the block."""
        stop = asyncio.Event()
        users = [
            asyncio.create_task(be_user(shop, self._choices(n), stop, self.plan.pause))
            for n in range(self.plan.users)
        ]
        try:
            yield
        finally:
            stop.set()
            # An error here is one of the driver, not of a service.
            await asyncio.gather(*users)

    async def steady(self, shop: Shop) -> Window:
        """The load with everything well, once the cache has filled."""
        await asyncio.sleep(self.plan.warm_up)
        begin = time.time()
        await asyncio.sleep(self.plan.load / 2)
        await shop.change(RECALCULATION, RECALCULATION.call(self._choices(0)), FASTAPI)
        await asyncio.sleep(begin + self.plan.load - time.time())
        return Window(begin, time.time())

    async def statistics(self) -> list[FleetStats]:
        """What the fleet has counted, by namespace."""
        async with AsyncClient(",".join(r.address for r in self.fleet.replicas)) as client:
            return [FleetStats.of(each) for each in (await client.stats()).namespaces]

    async def outage(self, process: Process, seconds: float) -> Outage:
        """Kills a process under load, and starts it again."""
        begin = time.time()
        await asyncio.sleep(self.plan.calm)
        events = {time.time(): f"{process.name} is killed"}
        await asyncio.to_thread(process.kill)
        await asyncio.sleep(seconds)
        events[time.time()] = f"{process.name} starts"
        process.start()
        await process.ready()
        events[time.time()] = f"{process.name} is ready"
        await asyncio.sleep(self.plan.recovery)
        return Outage(Window(begin, time.time()), events)

    async def last_look(self, shop: Shop) -> list[str]:
        """Reads all that was changed from all services, and compares it with the database.

        Returns what is wrong.
        """
        faults = []
        with sqlite3.connect(self.settings.database) as connection:
            for kind, services in READERS.items():
                table, key = _TABLES[kind]
                for subject in shop.revisions.of_kind(kind):
                    statement = f"SELECT revision FROM {table} WHERE {key} = ?"
                    (revision,) = connection.execute(statement, subject[1:]).fetchone()
                    shop.revisions.answered(subject, revision)
                    call = _CALLS[kind](subject[1])
                    for answer in await shop.show((call, services)):
                        if answer.fault is not None:
                            faults.append(f"{answer.service}: {answer.fault}")
        return faults

    def _choices(self, seed_of_choices: int) -> Choices:
        return Choices(
            seed_of_choices,
            users=self.plan.population,
            companies=self.plan.companies,
            properties=self.plan.properties,
        )


_TABLES = {"user": ("users", "id"), "company": ("companies", "id"), "points": ("points", "user_id")}
_CALLS = {"user": endpoints.user, "company": endpoints.company, "points": endpoints.points}
_SHARED = {
    "user": endpoints.user,
    "profile": endpoints.profile,
    "points": endpoints.points,
    "company": lambda number: endpoints.company(number - 250),
    "companies": lambda number: Call("/companies", number, "companies"),
}
