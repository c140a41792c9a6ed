"""Analyses of properties: expensive, and the same for all users."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import APIRouter
from larder_cache.http import cached_endpoint
from pydantic import BaseModel

from common import cache, database, settings

from .login import CurrentUser

router = APIRouter()


class AnalysisRequest(BaseModel):
    """The property to analyze."""

    address: str


@router.get("/api/v1/propiq/analyses")
@cached_endpoint(
    namespace="analyses",
    ttl=300,
    cache_by_user=True,
    tags=["analyses:{user.id}"],
    cache_control=cache.REVALIDATED,
    enabled=settings.CACHE_ENABLED,
)
async def list_analyses(user: CurrentUser) -> Any:
    """The addresses that the user has analyzed: one entry for each user, with a tag."""
    return await database.query_async("analyses", user_id=user.id)


@router.post("/api/v1/propiq/analyze")
async def analyze(data: AnalysisRequest, user: CurrentUser) -> Any:
    """The analysis of an address, for 24 h. The key is the digest of the address."""
    digest = hashlib.sha256(data.address.encode()).hexdigest()
    found = await cache.read_async(
        "analysis", digest, lambda: database.query_async("analysis", address=data.address)
    )
    answer = {"success": True, "analysis": found.document, "cached": found.x_cache == "HIT"}
    added = await database.change_async("add_analysis", user_id=user.id, address=data.address)
    if added:
        # A new analysis of the user: the list is old.
        await cache.async_namespace("analyses").invalidate(tags=[f"analyses:{user.id}"])
        answer["analyses"] = added[0]["revision"]
    return answer
