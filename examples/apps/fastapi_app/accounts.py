"""Users and profiles: entries that the Flask and Express services share."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel

from common import cache, database

from .login import CurrentUser

router = APIRouter()


class ProfileUpdate(BaseModel):
    """What a user may change."""

    city: str


@router.get("/api/v1/auth/users/{user_id}")
async def get_user(user_id: int, response: Response, user: CurrentUser) -> Any:
    """The account of a user. TTL: 1 h, from the configuration of the namespace."""
    found = await cache.read_async(
        "user",
        cache.ACCOUNT.format(user_id),
        lambda: database.query_async("user", user_id=user_id),
    )
    response.headers["X-Cache"] = found.x_cache
    if found.document is None:
        # That there is no such user is cached, too: null is a value.
        raise HTTPException(404, f"there is no user {user_id}", headers=dict(response.headers))
    return found.document


@router.get("/api/v1/auth/profile")
async def get_profile(response: Response, user: CurrentUser) -> Any:
    """The profile of the user, with the points. One entry for each user."""
    found = await cache.read_async(
        "user",
        cache.PROFILE.format(user.id),
        lambda: database.query_async("profile", user_id=user.id),
    )
    response.headers["X-Cache"] = found.x_cache
    return found.document


@router.put("/users/{user_id}/profile")
async def update_profile(user_id: int, data: ProfileUpdate, user: CurrentUser) -> Any:
    """Changes a user, and invalidates all entries of the user by a pattern."""
    if user.id != user_id and user.role != "admin":
        raise HTTPException(403, "only your own profile")
    changed = await database.change_async("update_user", user_id=user_id, city=data.city)
    if not changed:
        raise HTTPException(404, f"there is no user {user_id}")
    await cache.async_namespace("user").invalidate(globs=[f"{user_id}:*"])
    return changed[0]
