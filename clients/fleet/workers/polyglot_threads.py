"""The Python worker of the polyglot test: README.md has the protocol."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from larder_cache import Client, LarderError, NearCache
from larder_cache.decorators import cached

from soaking import proved, value_of

KEYS = 100
# Seconds that the near cache has to keep a value and to see its change.
LIMIT = 20.0
WEIGHTS = {"get": 25, "near": 35, "fetch": 30, "many": 5, "set": 4, "delete": 1}
printing = threading.Lock()


def answer(value: Any) -> None:
    """Writes one line."""
    with printing:
        print(json.dumps(value), flush=True)


def report(year: Any, region: Any = "eu", *, filters: Any = None) -> Any:
    """The functions are never called: only the keys of their calls are used."""


def user(user_id: Any, page: Any = 1) -> Any:
    """Has a template."""


def pair(a: Any, b: Any) -> Any:
    """Has a template with two fields."""


class Load:
    """Callers that read and write until the end, and what they saw."""

    def __init__(self, entries: Any, near: Any, callers: int, pause: float) -> None:
        self._entries = entries
        self._near = near
        self._pause = pause
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {
            "calls": dict.fromkeys(WEIGHTS, 0),
            "hits": 0,
            "near": 0,
            "degraded": 0,
            "refused": 0,
            "longest": 0.0,
            "slowest": "",
            "raised": [],
            "wrong": [],
        }
        self._threads = [threading.Thread(target=self._run) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        while not self._ending.wait(self._pause):
            call, began = random.choices(names, weights)[0], time.monotonic()
            try:
                self._make(call, f"k{int(KEYS * random.random() ** 2)}")
            except Exception as error:  # noqa: BLE001
                self._failed(call, error)
            with self._lock:
                self._facts["calls"][call] += 1
                took = time.monotonic() - began
                if took > self._facts["longest"]:
                    self._facts.update(longest=took, slowest=call)

    def _make(self, call: str, key: str) -> None:
        if call == "get":
            self._read(key, self._entries.get(key))
        elif call == "near":
            self._read(key, self._near.get(key))
        elif call == "fetch":
            result = self._entries.get_or_fetch(key, lambda: self._load(key))
            self._read(key, result)
            if not result.found:
                self._note("wrong", f"{key}: no value of a loader: {result!r}")
        elif call == "many":
            keys = {f"k{int(KEYS * random.random() ** 2)}" for _ in range(20)}
            for each, result in self._entries.get_many(list(keys)).items():
                self._read(each, result)
        elif call == "set":
            self._near.set(key, value_of(key, "python"), ttl=20)
        else:
            self._near.delete(key)

    def _load(self, key: str) -> Any:
        time.sleep(random.uniform(0.001, 0.05))
        return value_of(key, "python")

    def _read(self, key: str, result: Any) -> None:
        with self._lock:
            self._facts["degraded"] += bool(result.degraded)
            self._facts["hits"] += bool(result.found)
            self._facts["near"] += result.tier == "client"
        if result.found and not proved(key, result.value):
            self._note("wrong", f"{key}: {result!r}")
        if not (result.found or result.degraded) and result.error is not None:
            self._note("wrong", f"{key}: {result.error!r}")

    def _failed(self, call: str, error: Exception) -> None:
        if call == "delete" and isinstance(error, LarderError) and error.outage:
            with self._lock:
                self._facts["refused"] += 1
        else:
            self._note("raised", f"{call}: {error!r}")

    def _note(self, name: str, text: str) -> None:
        with self._lock:
            if len(self._facts[name]) < 20:
                self._facts[name].append(text)

    def facts(self) -> Any:
        """What the callers saw until now."""
        with self._lock:
            return json.loads(json.dumps(self._facts))

    def end(self) -> Any:
        """Ends the callers."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        return self.facts()


class Worker:
    """Does the commands."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._entries: Any = None
        self._near: Any = None
        self._functions: dict[str, Any] = {}
        self._under_load: Load | None = None

    def connect(self, preset: Any) -> Any:
        """A client with this preset, in place of the one before."""
        self.close()
        self._client = Client(preset=preset)
        self._client.connect(20)
        self._entries = self._client.namespace("polyglot")
        self._near = self._client.namespace("polyglot", near_cache=NearCache())
        common: Any = {"namespace": self._entries, "ttl": 60}
        self._functions = {
            "report": cached(name="report", **common)(report),
            "user": cached(key="user:{user_id}", **common)(user),
            "pair": cached(key="{a}:{b}", **common)(pair),
        }
        return "connected"

    def keys(self, calls: list[Any]) -> Any:
        """The keys of calls."""
        keys = [self._of(call).key(*call["positional"], **call["named"]) for call in calls]
        return [{"key": key.key, "params": dict(key.params)} for key in keys]

    def write(self, calls: list[Any], values: list[Any]) -> Any:
        """Stores values as those of calls."""
        return [
            bool(self._of(call).set(value, *call["positional"], **call["named"]))
            for call, value in zip(calls, values)
        ]

    def read(self, calls: list[Any]) -> Any:
        """The values of calls."""
        results = [self._of(call).get(*call["positional"], **call["named"]) for call in calls]
        return [
            {
                "outcome": each.outcome,
                "value": each.value,
                "error": None if each.error is None else repr(each.error),
            }
            for each in results
        ]

    def _of(self, call: Any) -> Any:
        return self._functions[call["function"]]

    def stampede(self, key: str, callers: int, seconds: float, lead: bool) -> Any:
        """Callers that need one key at once."""
        loads = 0
        lock = threading.Lock()
        begin = threading.Barrier(callers)

        def load() -> str:
            nonlocal loads
            with lock:
                loads += 1
                first = loads == 1
            if lead and first:
                answer("loading")
            time.sleep(seconds)
            return f"{key} by python"

        def call(_: int) -> tuple[Any, float]:
            begin.wait()
            began = time.monotonic()
            result = self._entries.get_or_fetch(key, load, timeout=30)
            return result, time.monotonic() - began

        with ThreadPoolExecutor(callers) as pool:
            done = list(pool.map(call, range(callers)))
        right = [
            each for each, _ in done if each.found and each.error is None and not each.degraded
        ]
        return {
            "loads": loads,
            "answers": len(right),
            "values": sorted({str(each.value) for each in right}),
            "slowest": max(took for _, took in done),
            "wrong": [repr(each) for each, _ in done if each not in right][:3],
        }

    def change(self, kind: str, key: str, tag: str, value: Any) -> Any:
        """Changes an entry, and reads it."""
        if kind == "set":
            done = bool(self._near.set(key, value, tags=[tag], ttl=60))
        elif kind == "delete":
            done = self._near.delete(key).deleted
        else:
            done = not self._near.invalidate(tags=[tag]).queued
        at = time.time()
        result = self._near.get(key)
        return {"done": done, "at": at, "found": result.found, "value": result.value}

    def follow(self, key: str, old: Any, new: Any, gone: int) -> Any:
        """Reads by the near cache until it has seen the change."""
        deadline = time.monotonic() + LIMIT
        kept = others = 0
        outdated_at = 0.0
        wrong: list[str] = []
        while time.monotonic() < deadline:
            began = time.time()
            result = self._near.get(key)
            near = result.tier == "client"
            if result.found and result.value == old:
                others, outdated_at = 0, began
                kept += near
                if kept == 1 and near:
                    answer("following")
            elif result.found and result.value != new:
                wrong.append(repr(result))
                break
            else:
                others += 1
                if others >= gone and (new is None or near):
                    return {"kept": kept, "outdated_at": outdated_at, "wrong": wrong}
            time.sleep(0.001)
        wrong.append(f"no end within {LIMIT:g} s: {kept} reads of the near cache")
        return {"kept": kept, "outdated_at": outdated_at, "wrong": wrong}

    def load(self, callers: int, pause: float) -> Any:
        """Begins the load."""
        self._under_load = Load(self._entries, self._near, callers, pause)
        return "loading"

    def counts(self) -> Any:
        """What the load saw until now."""
        assert self._under_load is not None
        return self._under_load.facts()

    def end(self) -> Any:
        """Ends the load."""
        assert self._under_load is not None
        return self._under_load.end()

    def close(self) -> Any:
        """Closes the client."""
        if self._client is not None:
            self._client.close()
        return "closed"


def main() -> None:
    """Does the commands of the input, one after the other."""
    worker = Worker()
    commands: dict[str, Callable[..., Any]] = {
        name: getattr(worker, name)
        for name in (
            *("connect", "keys", "write", "read", "stampede", "change", "follow"),
            *("load", "counts", "end", "close"),
        )
    }
    for line in sys.stdin:
        arguments = json.loads(line)
        command = arguments.pop("do")
        answer(commands[command](**arguments))
        if command == "close":
            return
    # The script is gone; callers of the load may run.
    os._exit(1)


main()
