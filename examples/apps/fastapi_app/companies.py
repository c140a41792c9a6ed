"""Companies: a cached function, whose entries the Flask and Express services share."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from larder_cache.decorators import cached
from pydantic import BaseModel

from common import cache, database, settings

from .login import CurrentUser

router = APIRouter()


class CompanyUpdate(BaseModel):
    """What may be changed."""

    phone: str


@cached(namespace="company", key="{company_id}:profile", ttl="2h", enabled=settings.CACHE_ENABLED)
async def load_company(company_id: int) -> dict[str, Any] | None:
    """A company, or None. The argument is in the template, so that it is no param of the entry."""
    return await database.query_async("company", company_id=company_id)


@cached(namespace="company", key="list", ttl="2h", enabled=settings.CACHE_ENABLED)
async def load_companies() -> dict[str, Any]:
    """All companies."""
    return await database.query_async("companies")


@router.get("/companies")
async def list_companies(user: CurrentUser) -> Any:
    """All companies."""
    return await load_companies()


@router.get("/companies/{company_id}")
async def get_company(company_id: int, user: CurrentUser) -> Any:
    """A company."""
    company = await load_company(company_id)
    if company is None:
        raise HTTPException(404, f"there is no company {company_id}")
    return company


@router.put("/companies/{company_id}")
async def update_company(company_id: int, data: CompanyUpdate, user: CurrentUser) -> Any:
    """Changes a company, and invalidates one key."""
    changed = await database.change_async("update_company", company_id=company_id, phone=data.phone)
    if not changed:
        raise HTTPException(404, f"there is no company {company_id}")
    await cache.async_namespace("company").invalidate(keys=[f"{company_id}:profile"])
    return changed[0]
