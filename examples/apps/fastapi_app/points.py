"""Points: an event of the business invalidates what shows them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from larder_cache import default_async_client
from pydantic import BaseModel, Field

from common import cache, database

from .login import Administrator, CurrentUser

router = APIRouter()


class Redemption(BaseModel):
    """Points to redeem."""

    points: int = Field(gt=0)


@router.get("/points/balance")
async def get_balance(response: Response, user: CurrentUser) -> Any:
    """The points of the user: one entry for each user, which the Express service shares."""
    found = await cache.read_async(
        "points",
        cache.BALANCE.format(user.id),
        lambda: database.query_async("points", user_id=user.id),
    )
    response.headers["X-Cache"] = found.x_cache
    return found.document


@router.post("/points/redeem")
async def redeem_points(data: Redemption, user: CurrentUser) -> Any:
    """Redeems points. The rules of the event are in the configuration of the fleet."""
    (changed,) = await database.change_async("redeem_points", user_id=user.id, points=data.points)
    await default_async_client().publish_event("points_changed", {"user_id": str(user.id)})
    return changed


@router.post("/admin/recalculate-points")
async def recalculate_points(user: Administrator) -> Any:
    """Corrects the points of many users, and invalidates two namespaces."""
    changed = await database.change_async("recalculate_points")
    for name in ("points", "user"):
        await cache.async_namespace(name).invalidate_namespace()
    return {"status": "success", "revisions": changed}
