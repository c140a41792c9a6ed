"""All kinds of calls in tasks, until `end`."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import sys
import threading
import time
from typing import Any

import grpc.aio

from larder_cache import AsyncClient, NearCache

from soaking import Boom, Notes, callers, some_call, some_key, some_keys, value_of

logging.basicConfig(level=logging.ERROR)
notes = Notes()


async def load(key: str) -> Any:
    """Takes 1 to 50 ms, and fails now and then."""
    await asyncio.sleep(random.uniform(0.001, 0.05))
    if random.random() < 0.01:
        raise Boom
    return value_of(key, "asyncio")


async def load_many(keys: list[str]) -> dict[str, Any]:
    """The same for a batch."""
    await asyncio.sleep(random.uniform(0.001, 0.05))
    return {key: value_of(key, "asyncio") for key in keys}


async def make(call: str, entries: Any, near: Any, counts: Any) -> None:
    """One call."""
    key = some_key()
    if call == "get":
        notes.read(key, await entries.get(key))
    elif call == "near":
        notes.read(key, await near.get(key))
    elif call == "fetch":

        async def loader() -> Any:
            return await load(key)

        fetching = entries.get_or_fetch(key, loader, tags=[f"t-{key[-1]}"])
        if random.random() < 0.05:
            # A caller that loses patience: the others get the value all the same.
            try:
                notes.read(key, await asyncio.wait_for(fetching, 0.01))
            except asyncio.TimeoutError:
                pass
        else:
            notes.read(key, await fetching)
    elif call == "many":
        for each, result in (await entries.get_many(some_keys())).items():
            notes.read(each, result)
    elif call == "fetch_many":
        for each, result in (await entries.get_or_fetch_many(some_keys(), load_many)).items():
            notes.read(each, result)
    elif call == "set":
        await entries.set(key, value_of(key, "asyncio"), ttl=random.uniform(1, 30))
    elif call == "set_many":
        await entries.set_many({each: value_of(each, "asyncio") for each in some_keys()})
    elif call == "touch":
        await entries.touch(key, 20)
    elif call == "delete":
        await entries.delete(key)
    elif call == "increment":
        await counts.increment(key)
    else:
        await near.invalidate(tags=[f"t-{key[-1]}"])


async def main() -> None:
    """Runs the callers, closes the client, and looks at what is left."""
    async with AsyncClient() as client:
        entries = client.namespace("soak", tags=("all",))
        near = client.namespace("soak", near_cache=NearCache(max_entries=200))
        counts = client.namespace("soak-counts")

        async def caller() -> None:
            while not notes.ending:
                call, began = some_call(), time.monotonic()
                try:
                    await make(call, entries, near, counts)
                except Exception as error:  # noqa: BLE001
                    notes.failed(call, error)
                notes.done(call, began)

        await client.connect(20)
        tasks = [asyncio.create_task(caller()) for _ in range(callers())]
        print(json.dumps("ready"))
        await asyncio.to_thread(sys.stdin.readline)
        notes.ending = True
        await asyncio.gather(*tasks)
    left: dict[str, Any] = {}
    me = asyncio.current_task()
    # grpc.aio ends its own tasks when the status of a cancelled call has come.
    deadline = time.monotonic() + 2
    while (tasks := asyncio.all_tasks() - {me}) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if tasks:
        left["tasks"] = [repr(task) for task in tasks][:5]
    del tasks
    gc.collect()
    if channels := sum(isinstance(each, grpc.aio.Channel) for each in gc.get_objects()):
        left["channels"] = channels
    if alive := [t.name for t in threading.enumerate() if t.name.startswith("larder")]:
        left["threads"] = alive
    notes.left = left


asyncio.run(main())
print(notes.report())
