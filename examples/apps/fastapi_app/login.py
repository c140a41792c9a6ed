"""Who is logged in, as a dependency. Callbacks of the cache find the user in `request.state`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Request

from common.login import User, user_of


async def current_user(request: Request) -> User:
    """The user of the request. Raises 401 without one."""
    user = user_of(request.headers.get("authorization"))
    if user is None:
        raise HTTPException(401, "log in: Authorization: Bearer user-<number>")
    request.state.user = user
    return user


async def administrator(user: Annotated[User, Depends(current_user)]) -> User:
    """The user of the request, who must be an administrator. Raises 403 for others."""
    if user.role != "admin":
        raise HTTPException(403, "only for administrators")
    return user


CurrentUser = Annotated[User, Depends(current_user)]
Administrator = Annotated[User, Depends(administrator)]
