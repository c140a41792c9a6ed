"""One asyncio client in several event loops."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import uuid
from typing import Any

import grpc.aio

from larder_cache import AsyncClient

client = AsyncClient(preset="local")
entries = client.namespace("loops")
near = client.namespace("loops-near", near_cache=True)
run = uuid.uuid4().hex


async def work(name: str) -> None:
    """Calls of all kinds, many at the same time."""
    assert await entries.set(f"{run}-{name}", name)
    assert (await entries.get(f"{run}-{name}")).value == name
    reads = await asyncio.gather(*(entries.get(f"{run}-{name}") for _ in range(50)))
    assert all(read.value == name for read in reads), reads
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return name

    results = await asyncio.gather(
        *(entries.get_or_fetch(f"{run}-fetched-{name}", load) for _ in range(20))
    )
    assert loads == 1 and all(result.value == name for result in results), (loads, results)
    plain = await entries.get_or_fetch(f"{run}-plain-{name}", lambda: name)
    assert plain.value == name
    assert await near.set(f"{run}-{name}", name)
    assert (await near.get(f"{run}-{name}")).value == name


def one_after_the_other(runner: Any) -> None:
    """A loop after the other: none uses what belongs to one before."""
    for number in range(10):
        runner(work(f"run{number}"))


def at_once(runner: Any) -> None:
    """Three threads with a loop each. All begin together."""
    begin = threading.Barrier(3)
    errors: list[BaseException] = []

    def thread(number: int) -> None:
        begin.wait()
        try:
            for turn in range(5):
                runner(work(f"thread{number}-{turn}"))
        except BaseException as error:  # noqa: BLE001  (it is raised below)
            errors.append(error)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if errors:
        raise errors[0]


async def close_and_look() -> dict[str, Any]:
    """Closes the client. Nothing of it is left."""
    await client.close()
    me = asyncio.current_task()
    tasks = [repr(task) for task in asyncio.all_tasks() if task is not me]
    gc.collect()
    return {"tasks": tasks}


def runner_of(kind: str) -> Any:
    """`asyncio.run`, or that of uvloop."""
    if kind == "uvloop":
        import uvloop

        return uvloop.run
    return asyncio.run


def main() -> None:
    """Prints what is left."""
    runner = runner_of(sys.argv[1])
    one_after_the_other(runner)
    at_once(runner)
    left = runner(close_and_look())
    gc.collect()
    left["channels"] = sum(isinstance(each, grpc.aio.Channel) for each in gc.get_objects())
    left["threads"] = [
        thread.name for thread in threading.enumerate() if thread.name.startswith("larder")
    ]
    print(json.dumps(left))


if __name__ == "__main__":
    main()
