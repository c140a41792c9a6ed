"""Who is logged in: `Authorization: Bearer user-7` is user 7.

A real service verifies a signed token here. Users 1 to 3 are administrators.
"""

from __future__ import annotations

from typing import NamedTuple


class User(NamedTuple):
    """A user that is logged in."""

    id: int
    role: str


def user_of(authorization: str | None) -> User | None:
    """The user of an Authorization header, or None if it names none."""
    scheme, _, token = (authorization or "").partition(" ")
    number = token.removeprefix("user-")
    if scheme != "Bearer" or number == token or not number.isdecimal():
        return None
    return User(int(number), "admin" if int(number) <= 3 else "user")
