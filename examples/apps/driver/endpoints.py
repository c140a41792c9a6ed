"""The endpoints that are read, as in the documents of the systems that this example stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .choices import Choices
from .freshness import Shows

FASTAPI, FLASK, EXPRESS = "fastapi", "flask", "express"
ALL = (FASTAPI, FLASK, EXPRESS)


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and what its answer shows."""

    path: str
    user: int
    #: The query of a read; empty for a change.
    query: str = ""
    method: str = "GET"
    json: Any = None
    shows: tuple[Shows, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that reads."""

    label: str
    #: Its query, which also names its delay.
    query: str
    ttl: str
    services: tuple[str, ...]
    #: How often it is called, beside others.
    weight: float
    call: Callable[[Choices], Call]


def _areas(choices: Choices) -> Call:
    return Call(f"/api/areas/{choices.one_of('buy', 'rent')}", choices.user(), "areas")


def _property_types(choices: Choices) -> Call:
    search_type = choices.one_of("buy", "rent")
    return Call(f"/api/property-types/{search_type}", choices.user(), "property_types")


def _valuation(choices: Choices) -> Call:
    area, kind, metres = choices.property()
    body = {"area": area, "property_type": kind, "square_metres": metres}
    return Call("/api/property/valuation", choices.user(), "valuation", "POST", body)


def user(number: int) -> Call:
    """The account of a user."""
    return Call(f"/api/v1/auth/users/{number}", number, "user", shows=(Shows(("user", number)),))


def profile(number: int) -> Call:
    """The profile of a user, with the points."""
    shows = (Shows(("user", number)), Shows(("points", number), "points_revision"))
    return Call("/api/v1/auth/profile", number, "profile", shows=shows)


def points(number: int) -> Call:
    """The points of a user."""
    return Call("/points/balance", number, "points", shows=(Shows(("points", number)),))


def company(number: int, reader: int = 4) -> Call:
    """A company."""
    return Call(f"/companies/{number}", reader, "company", shows=(Shows(("company", number)),))


def analyses(number: int) -> Call:
    """The addresses that a user has analyzed."""
    shows = (Shows(("analyses", number)),)
    return Call("/api/v1/propiq/analyses", number, "analyses", shows=shows)


def conversations(number: int) -> Call:
    """The messages of a user to the support."""
    shows = (Shows(("messages", number)),)
    return Call("/api/v1/support/conversations", number, "conversations", shows=shows)


def company_pickups(number: int, company_id: int, status: str = "all") -> Call:
    """The pickups of a user by a company."""
    query = "" if status == "all" else f"?status={status}"
    shows = (Shows(("pickups", number, company_id)),)
    return Call(f"/companies/{company_id}/pickups{query}", number, "company_pickups", shows=shows)


def history(number: int, historical: bool = False) -> Call:
    """The days on which something was picked up at a user."""
    query = "?historical=true" if historical else ""
    shows = (Shows(("all pickups", number)),)
    return Call(f"/pickups/history{query}", number, "pickup_history", shows=shows)


def _analysis(choices: Choices) -> Call:
    # Users of their own, because the first analysis of an address also changes a list.
    body = {"address": choices.address()}
    return Call("/api/v1/propiq/analyze", 400, "analysis", "POST", body)


def _company_pickups(choices: Choices) -> Call:
    number = choices.user()
    status = "pending" if choices.chance(0.2) else "all"
    return company_pickups(number, choices.company_of(number), status)


def _daily_report(choices: Choices) -> Call:
    # A few of the readers are administrators, who get past the cache.
    return Call("/reports/daily", 1 if choices.chance(0.05) else choices.user(), "daily_report")


def _chart(choices: Choices) -> Call:
    material = choices.one_of("paper", "glass", "metal", "plastic")
    return Call(f"/analytics/chart?material={material}", choices.user(), "chart")


def _fixed(path: str, query: str) -> Callable[[Choices], Call]:
    return lambda choices: Call(path, choices.user(), query)


READS: tuple[Endpoint, ...] = (
    Endpoint("GET /api/areas/<type>", "areas", "1 h", (FLASK,), 5, _areas),
    Endpoint("GET /api/property-types/<type>", "property_types", "1 h", (FLASK,), 5,
             _property_types),
    Endpoint("POST /api/property/valuation", "valuation", "5 min", (FLASK,), 7, _valuation),
    Endpoint("GET /api/v1/auth/users/<id>", "user", "1 h", ALL, 12, lambda c: user(c.user())),
    Endpoint("GET /api/v1/auth/profile", "profile", "30 min", (FASTAPI, EXPRESS), 12,
             lambda c: profile(c.user())),
    Endpoint("GET /api/v1/propiq/analyses", "analyses", "5 min", (FASTAPI,), 5,
             lambda c: analyses(c.user())),
    Endpoint("POST /api/v1/propiq/analyze", "analysis", "24 h", (FASTAPI,), 5, _analysis),
    Endpoint("GET /companies", "companies", "2 h", ALL, 6, _fixed("/companies", "companies")),
    Endpoint("GET /companies/<id>", "company", "2 h", ALL, 12,
             lambda c: company(c.company(), c.user())),
    Endpoint("GET /companies/<id>/pickups", "company_pickups", "5 min", (FASTAPI,), 5,
             _company_pickups),
    Endpoint("GET /pickups/history", "pickup_history", "5 min, 24 h", (FASTAPI,), 3,
             lambda c: history(c.user(), c.chance(0.3))),
    Endpoint("GET /points/balance", "points", "5 min", (FASTAPI, EXPRESS), 9,
             lambda c: points(c.user())),
    Endpoint("GET /reports/daily", "daily_report", "30 min", (FASTAPI,), 4, _daily_report),
    Endpoint("GET /reports/large-dataset", "large_dataset", "1 h", (FASTAPI,), 1,
             _fixed("/reports/large-dataset", "large_dataset")),
    Endpoint("GET /analytics/chart", "chart", "30 min", (FASTAPI,), 3, _chart),
    Endpoint("GET /statistics/daily", "daily_statistics", "adaptive", (FASTAPI,), 4,
             _fixed("/statistics/daily", "daily_statistics")),
    Endpoint("GET /api/v1/support/conversations", "conversations", "5 min", (EXPRESS,), 4,
             lambda c: conversations(c.user())),
    Endpoint("GET /api/v1/subscription", "subscription", "1 h", (EXPRESS,), 4,
             _fixed("/api/v1/subscription", "subscription")),
    Endpoint("GET /api/v1/usage", "usage", "5 min", (EXPRESS,), 3,
             _fixed("/api/v1/usage", "usage")),
)  # fmt: skip

BY_QUERY = {endpoint.query: endpoint for endpoint in READS}
