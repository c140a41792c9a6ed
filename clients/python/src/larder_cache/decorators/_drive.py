"""One logic for blocking and for asynchronous functions.

It is written as coroutines. For a blocking function all that they await is done at once, so that
a single step runs them to their end.
"""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def drive(coroutine: Coroutine[Any, Any, T], name: str) -> T:
    """Runs a coroutine that never suspends. ``name`` is the function that an error names."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError(f"{name} is a blocking function, but one of its options waits on asyncio")


async def settle(value: Any) -> Any:
    """The value, or that of an awaitable."""
    return await value if inspect.isawaitable(value) else value
