"""Tokens: fixed ones, and those that a callable returns for a while."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable
from typing import Any

from larder_cache.options import Options, is_token

Metadata = tuple[tuple[str, str], ...]
# A token without a time of its own is asked for again after this many seconds.
_DEFAULT_LIFE = 60.0


class Metadatas:
    """The metadata of calls: the schema version and the token."""

    def __init__(self, options: Options) -> None:
        base: list[tuple[str, str]] = []
        if options.schema_version is not None:
            base.append(("larder-schema-version", options.schema_version))
        token = options.token
        self._source = None if token is None or isinstance(token, str) else token
        if isinstance(token, str):
            base.append(("authorization", f"Bearer {token}"))
        self._base: Metadata = tuple(base)
        self._until = 0.0
        self.fixed: Metadata | None = self._base if self._source is None else None
        """The metadata of all calls; None if the token can change."""
        self._current: Metadata = self._base

    async def current(self) -> Metadata:
        """The metadata of a call now. It asks for a token if the last one is too old."""
        if self.fixed is not None:
            return self.fixed
        if time.monotonic() < self._until:
            return self._current
        assert self._source is not None
        answer: Any = self._source()
        if inspect.isawaitable(answer):
            answer = await _checked(answer)
        token, life = answer if isinstance(answer, tuple) else (answer, _DEFAULT_LIFE)
        if not isinstance(token, str):
            raise TypeError(f"it returned {type(token).__name__}, not a text")
        if not is_token(token):
            raise ValueError("it did not return printable ASCII without white space")
        self._current = (*self._base, ("authorization", f"Bearer {token}"))
        # Renewed before it ends, so that no call carries a token that expires on its way.
        self._until = time.monotonic() + life * 0.9
        return self._current

    def refused(self) -> bool:
        """Forgets the token after UNAUTHENTICATED. False if there is no other to ask for."""
        if self._source is None:
            return False
        self._until = 0.0
        return True


async def _checked(answer: Awaitable[Any]) -> Any:
    return await answer
