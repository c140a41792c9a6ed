"""One entry per user."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .callbacks import Callback, Offer
from .calls import CallKey
from .canonical import NotCanonical, canonical
from .errors import uncacheable_argument
from .options import Moment, ask

#: The param of the user. No argument of a function can have this name.
USER_PARAM = "@user"

#: Takes the place of the user in calls without one, if these are cached at all.
_ANONYMOUS = "anonymous"

_USUAL = ("current_user", "user", "user_id")


class UserOf:
    """The user of a call, as a part of its key.

    A call without a user (None) is not cached, unless ``cache_anonymous`` is set: one entry is then
    shared by all calls without a user.
    """

    def __init__(self, function: str, find: Callback, cache_anonymous: bool) -> None:
        self._function = function
        self._find = find
        self._cache_anonymous = cache_anonymous

    @property
    def callback(self) -> Callback:
        """The function that finds the user."""
        return self._find

    async def add_to(self, key: CallKey, moment: Moment) -> CallKey | None:
        """The key with the user, or None if the call must not be cached."""
        user = await ask(self._find, moment)
        if user is None:
            if not self._cache_anonymous:
                return None
            return CallKey(key.key, {**key.params, USER_PARAM: _ANONYMOUS})
        try:
            return CallKey(key.key, {**key.params, USER_PARAM: canonical(user)})
        except NotCanonical as error:
            raise uncacheable_argument(self._function, "cache_by_user", error) from None


def user_of_call(
    option: bool | str | Callable[..., Any],
    *,
    function: str,
    offer: Offer,
    cache_anonymous: bool,
) -> UserOf | None:
    """The user of calls of a function: a path such as ``"current_user.id"``, or a function."""
    if option is False or option is None:
        if cache_anonymous:
            raise ValueError("cache_anonymous needs cache_by_user")
        return None
    if option is True:
        option = next((name for name in _USUAL if name in offer.arguments), "")
        if not option:
            raise ValueError(
                f"cache_by_user: {function} has none of the arguments {', '.join(_USUAL)}: give "
                'the path of the user, such as "session.user_id", or a function of the call'
            )
    if isinstance(option, str):
        root = option.partition(".")[0]
        if root not in offer.arguments:
            raise ValueError(
                f"cache_by_user names {root!r}, which is not an argument of {function}"
            )
        option = functools.partial(user_at, option)
    return UserOf(function, Callback("cache_by_user", option, offer), cache_anonymous)


def user_at(path: str, source: Any) -> Any:
    """The id of the user at a path, such as ``current_user.id``; None if there is none.

    A user that is an object or a map is its ``id``, ``pk`` or ``user_id``.
    """
    for step in path.split("."):
        source = _step(source, step)
        if source is None:
            return None
    return user_id(source)


def user_id(user: Any) -> Any:
    """The id of a user: of an object or a map its ``id``, ``pk``, ``user_id``, ``sub`` or name."""
    if user is None or isinstance(user, (str, int, bytes)) or hasattr(user, "__larder_key__"):
        return user
    if getattr(user, "is_authenticated", True) is False:
        return None
    has_id = False
    for name in ("id", "pk", "user_id", "sub", "identity", "username"):
        found = _step(user, name)
        if found is not None:
            return found
        has_id = has_id or (name in user if isinstance(user, dict) else hasattr(type(user), name))
    # A user whose id is empty is none; what has no id at all may be a key by itself.
    return None if has_id else user


def _step(source: Any, name: str) -> Any:
    if isinstance(source, dict):
        return source.get(name)
    try:
        return getattr(source, name, None)
    except NotImplementedError:
        # Starlette's users raise it for what they do not have.
        return None
