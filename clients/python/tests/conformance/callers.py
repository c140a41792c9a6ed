"""The clients under test: how their calls are made, and their results as plain data."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from larder_cache import FOREVER, AsyncClient, Client, NotStored, Stored

from .grammar import seconds
from .loaders import CountedLoader
from .spans import SPAN_FEATURES

ARGUMENT_TIMES = frozenset({"ttl", "max_stale", "touch", "hold_off", "timeout"})
CLIENT_TIMES = frozenset({"call_timeout", "connect_timeout"})
_FEATURES = SPAN_FEATURES | {
    "threads",
    "two_clients",
    "big_integers",
    "call_keys",
    "more_types",
}
# One thread for each call that a case has in flight.
_THREADS = 120


def error_as_data(error: BaseException | None) -> Any:
    """An error with the names of its classes."""
    if error is None:
        return None
    return {
        "class": [kind.__name__ for kind in type(error).__mro__],
        "code": getattr(error, "code", None),
        "reason": getattr(error, "reason", ""),
        "retry_after": getattr(error, "retry_after", None),
        "message": str(error),
    }


def as_data(result: Any) -> Any:
    """A result with the names that the cases use. Durations are seconds."""
    if isinstance(result, (Stored, NotStored)):
        fields = {**result._asdict(), "stored": bool(result)}
    elif hasattr(result, "outcome"):
        names = (
            "outcome",
            "found",
            "value",
            "version",
            "age",
            "ttl_remaining",
            "tier",
            "degraded",
            "joined",
            "error",
            "stored",
            "tags",
        )
        fields = {name: getattr(result, name) for name in names}
        fields["tags"] = list(result.tags)
    elif type(result).__name__ == "Patched":
        fields = {
            **result._asdict(),
            "applied": bool(result),
            "missing": result.result == "MISSING",
        }
    elif hasattr(result, "_asdict"):
        fields = result._asdict()
    elif isinstance(result, dict):
        return {"results": {key: as_data(each) for key, each in result.items()}}
    elif result is None or isinstance(result, (bool, int)):
        return {"value": result}
    else:
        return {}
    for name in ("stored", "removed"):
        if name in fields and not isinstance(fields[name], bool) and fields[name] is not None:
            fields[name] = as_data(fields[name])
    if "error" in fields:
        fields["error"] = error_as_data(fields["error"])
    return fields


def arguments(args: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call, with durations in seconds."""
    made = dict(args)
    for name in ARGUMENT_TIMES & made.keys():
        text = made[name]
        made[name] = FOREVER if text == "forever" else seconds(text)
        if made[name] is None:
            made[name] = text
    return made


class Threads:
    """Makes the calls of the blocking client, each in a thread."""

    features = _FEATURES
    is_async = False
    client_class: Any = Client

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS)

    def loader(self, loader: CountedLoader) -> Any:
        """A loader of the kind that this client takes."""
        return loader.function()

    async def call(self, call: Any, *args: Any, **named: Any) -> Any:
        """Makes a call."""
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        return await loop.run_in_executor(self._pool, lambda: context.run(call, *args, **named))

    async def collect(self, call: Any, **named: Any) -> list[Any]:
        """All items of a call that returns an iterator."""
        return list(await self.call(lambda: list(call(**named))))

    async def watch(self, namespace: Any, args: dict[str, Any], each: Any) -> None:
        """Calls `each` with every event, until the iterator ends."""

        def read() -> None:
            for event in namespace.watch(**args):
                each(event)

        await self.call(read)

    async def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Tasks:
    """Makes the calls of the client for asyncio."""

    features = _FEATURES | {"cancel"}
    is_async = True
    client_class: Any = AsyncClient

    def loader(self, loader: CountedLoader) -> Any:
        """A loader of the kind that this client takes."""
        return loader.coroutine()

    async def call(self, call: Any, *args: Any, **named: Any) -> Any:
        """Makes a call."""
        result = call(*args, **named)
        return await result if asyncio.iscoroutine(result) else result

    async def collect(self, call: Any, **named: Any) -> list[Any]:
        """All items of a call that returns an iterator."""
        return [item async for item in call(**named)]

    async def watch(self, namespace: Any, args: dict[str, Any], each: Any) -> None:
        """Calls `each` with every event, until the iterator ends."""
        async for event in namespace.watch(**args):
            each(event)

    async def close(self) -> None:
        """Has nothing to end."""
