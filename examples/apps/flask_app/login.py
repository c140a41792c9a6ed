"""Who is logged in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import abort, g, request

from common.login import user_of


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """Answers 401 to requests without a user. The user is in `g.user`."""

    @functools.wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        g.user = user_of(request.headers.get("authorization"))
        if g.user is None:
            abort(401, "log in: Authorization: Bearer user-<number>")
        return view(*args, **kwargs)

    return checked
