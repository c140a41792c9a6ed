"""Reports and statistics: skipped, compressed, pickled, and with a TTL that adapts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from fastapi import APIRouter, Request
from larder_cache import PickleCodec
from larder_cache.decorators import compress, decompress
from larder_cache.http import cached_endpoint

from common import database, settings

from .adaptive import AdaptiveTtl
from .login import CurrentUser

router = APIRouter()


@dataclass(frozen=True)
class Chart:
    """A line of a diagram. JSON has no dates, so that it is pickled."""

    material: str
    days: tuple[date, ...]
    kilograms: tuple[float, ...]


def skip_cache_for_admins(request: Request) -> bool:
    """Administrators always get a fresh report."""
    return request.state.user.role == "admin"


@router.get("/reports/daily")
@cached_endpoint(
    namespace="reports",
    ttl=1800,
    skip_cache_fn=skip_cache_for_admins,
    cache_authorized=True,
    ignore=["user"],
    enabled=settings.CACHE_ENABLED,
)
async def get_daily_report(user: CurrentUser) -> Any:
    """What was picked up in all. The same for all users, so that the user is not in the key."""
    return await database.query_async("daily_report")


@router.get("/reports/large-dataset")
@cached_endpoint(
    namespace="reports",
    ttl=3600,
    serializer=compress,
    deserializer=decompress,
    cache_authorized=True,
    ignore=["user"],
    enabled=settings.CACHE_ENABLED,
)
async def get_large_report(user: CurrentUser) -> Any:
    """300 KB of JSON, compressed in the cache."""
    return await database.query_async("large_dataset")


@router.get("/analytics/chart")
@cached_endpoint(
    namespace="analytics",
    ttl=1800,
    # Signed: a value that carries another signature is not unpickled, and is a miss.
    codec=PickleCodec(settings.PICKLE_SECRET),
    cache_authorized=True,
    ignore=["user"],
    enabled=settings.CACHE_ENABLED,
)
async def get_chart_data(user: CurrentUser, material: str = "paper") -> Chart:
    """The pickups of a material by day."""
    points = await database.query_async("chart", material=material)
    days = tuple(date.fromisoformat(day) for day, _ in points)
    return Chart(material, days, tuple(kilograms for _, kilograms in points))


@router.get("/statistics/daily")
@cached_endpoint(
    namespace="statistics",
    ttl=AdaptiveTtl(least=60, most=1800),
    cache_authorized=True,
    ignore=["user"],
    enabled=settings.CACHE_ENABLED,
)
async def get_daily_statistics(user: CurrentUser) -> Any:
    """The last days. The less they change, the longer they are kept."""
    return await database.query_async("daily_statistics")
