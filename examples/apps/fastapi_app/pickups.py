"""Pickups: keys that the service builds, TTLs by request, and a namespace that goes as a whole."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from larder_cache.http import cached_endpoint
from pydantic import BaseModel

from common import cache, database, settings

from .login import CurrentUser

router = APIRouter()


class PickupCreate(BaseModel):
    """A pickup to order."""

    company_id: int
    material: str
    kilograms: float


def build_pickup_cache_key(request: Request, namespace: str) -> str:
    """User, company and status."""
    user_id = request.state.user.id
    company_id = request.path_params["company_id"]
    status = request.query_params.get("status", "all")
    return f"{user_id}:{company_id}:{status}"


@router.get("/companies/{company_id}/pickups")
@cached_endpoint(
    namespace="pickup",
    ttl=300,
    key_builder=build_pickup_cache_key,
    # The key has the user, so that requests with credentials may be cached.
    cache_authorized=True,
    cache_control=cache.REVALIDATED,
    enabled=settings.CACHE_ENABLED,
)
async def get_company_pickups(company_id: int, user: CurrentUser, status: str = "all") -> Any:
    """The pickups of the user by a company."""
    return await database.query_async(
        "company_pickups", user_id=user.id, company_id=company_id, status=status
    )


@router.get("/pickups/history")
@cached_endpoint(
    namespace="pickup",
    ttl_function=lambda request: (
        86_400 if request.query_params.get("historical") == "true" else 300
    ),
    cache_by_user=True,
    vary_query_params=["historical"],
    cache_control=cache.REVALIDATED,
    enabled=settings.CACHE_ENABLED,
)
async def get_pickup_history(user: CurrentUser, historical: bool = False) -> Any:
    """The days with pickups of the user: of this month for 5 min, of all months for a day."""
    return await database.query_async("pickup_history", user_id=user.id, historical=historical)


@router.post("/pickups")
async def create_pickup(data: PickupCreate, user: CurrentUser) -> Any:
    """Orders a pickup, and invalidates all entries about pickups."""
    (created,) = await database.change_async("create_pickup", user_id=user.id, **data.model_dump())
    await cache.async_namespace("pickup").invalidate_namespace()
    return created
