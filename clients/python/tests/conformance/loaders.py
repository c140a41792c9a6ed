"""The loaders of a case, which are counted and can be held back by a gate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from larder_cache import Loaded

from .grammar import expand, seconds

LIMIT = 20.0


class LoaderFailed(Exception):
    """The failure of a loader on purpose."""


class Gate:
    """Holds loaders back until it is opened."""

    def __init__(self) -> None:
        self._threads = threading.Event()
        self._tasks = asyncio.Event()

    def open(self) -> None:
        """Lets all pass. Called in the loop of the runner."""
        self._threads.set()
        self._tasks.set()

    def pass_in_thread(self) -> None:
        """Waits in a thread."""
        if not self._threads.wait(LIMIT):
            raise TimeoutError("the gate was not opened")

    async def pass_in_task(self) -> None:
        """Waits in a task."""
        await asyncio.wait_for(self._tasks.wait(), LIMIT)


class CountedLoader:
    """A loader of a case, as a function or as a coroutine function."""

    def __init__(self, spec: dict[str, Any], gate: Gate | None) -> None:
        self._spec = spec
        self._gate = gate
        self._delay = seconds(spec.get("delay")) or 0.0
        self._lock = threading.Lock()
        self.begun = 0
        self.keys: list[list[str]] = []

    def _begin(self, keys: tuple[Any, ...]) -> None:
        with self._lock:
            self.begun += 1
            self.keys += [list(each) for each in keys]

    def _result(self, keys: tuple[Any, ...]) -> Any:
        spec = self._spec
        if "fail" in spec:
            raise LoaderFailed(spec["fail"])
        if "by_key" in spec:
            return {key: spec["by_key"][key] for key in keys[0] if key in spec["by_key"]}
        value = expand(spec.get("value"), {})
        more: dict[str, Any] = {name: spec[name] for name in ("tags", "store") if name in spec}
        if "ttl" in spec:
            more["ttl"] = seconds(spec["ttl"])
        return Loaded(value, **more) if more else value

    def function(self, time_passes: Callable[[float], None] = time.sleep) -> Callable[..., Any]:
        """The loader for threads."""

        def load(*keys: Any) -> Any:
            self._begin(keys)
            time_passes(self._delay)
            if self._gate:
                self._gate.pass_in_thread()
            return self._result(keys)

        return load

    def coroutine(self) -> Callable[..., Any]:
        """The loader for asyncio."""

        async def load(*keys: Any) -> Any:
            self._begin(keys)
            await asyncio.sleep(self._delay)
            if self._gate:
                await self._gate.pass_in_task()
            return self._result(keys)

        return load
