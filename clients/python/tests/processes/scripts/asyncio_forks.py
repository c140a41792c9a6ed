"""Forks after an asyncio client was used: outside of a loop, in a task of a loop, beside a loop.

The last two with traffic: other tasks are in calls of all kinds at the fork.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any

from larder_cache import AsyncClient
from larder_cache.errors import Unavailable

client = AsyncClient(preset="local")
entries = client.namespace("asyncio-forks")
near = client.namespace("asyncio-forks-near", near_cache=True)


async def use() -> None:
    """Calls of all kinds."""
    pid = os.getpid()

    async def load() -> int:
        return pid

    assert await entries.set(f"k-{pid}", pid)
    reads = await asyncio.gather(*(entries.get(f"k-{pid}") for _ in range(20)))
    assert all(read.value == pid for read in reads), reads
    assert (await entries.get_or_fetch(f"f-{pid}", load)).value == pid
    assert await near.set(f"n-{pid}", pid)
    assert (await near.get(f"n-{pid}")).value == pid


def fork() -> int:
    """Runs a child with a loop of its own. Returns its exit code."""
    child = os.fork()
    if child == 0:
        code = 9
        try:
            asyncio.run(use())
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


PARENT = os.getpid()
wrong: list[str] = []
calls = 0


async def reading(number: int) -> None:
    """Single reads, batches, and computations that others wait for."""
    global calls
    turn = 0
    while True:
        turn += 1
        key = f"{PARENT}-{number}-{turn % 20}"

        async def load(key: str = key) -> str:
            await asyncio.sleep(0.01)
            return key

        fetched = await entries.get_or_fetch(key, load, timeout=10)
        read = await entries.get(key)
        many = await entries.get_many([key, "other"])
        error = fetched.error
        if isinstance(error, Unavailable) and error.reason == "CONTENDED" and fetched.value == key:
            # A fork has lost an answer with a lease, and it took its time to expire.
            continue
        for result in (fetched, read, many[key]):
            if result.error is not None or result.degraded or result.value != key:
                wrong.append(repr(result))
        await near.get(key)
        calls += 1


async def watching() -> None:
    """A feed of the user's own."""
    async for _ in entries.watch():
        pass


def traffic() -> list[asyncio.Task[None]]:
    """Tasks that are in calls all the time."""
    return [asyncio.create_task(work) for work in (*map(reading, range(8)), watching())]


async def more(before: int) -> None:
    """Waits for further calls of the traffic."""
    while calls < before + 8:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    """Ends the traffic. It must still be running."""
    wrong.extend(f"ended: {task!r}" for task in tasks if task.done())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def in_loop() -> list[int]:
    """Forks in a task; the loop works afterwards, and so do the calls of the other tasks."""
    await use()
    tasks = traffic()
    codes = []
    for _ in range(5):
        await asyncio.sleep(0.05)
        before = calls
        codes.append(fork())
        await use()
        await more(before)
    await stop(tasks)
    await client.close()
    return codes


def beside_loop() -> list[int]:
    """Forks in the main thread, while a loop runs in another one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    async def begin() -> list[asyncio.Task[None]]:
        await use()
        return traffic()

    tasks = run(begin())
    codes = []
    for _ in range(5):
        run(more(calls))
        codes.append(fork())
        run(use())
    run(more(calls))
    run(stop(tasks))
    run(client.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    return codes


def main() -> None:
    """Prints the exit codes of the children."""
    if sys.argv[1] == "in-loop":
        codes = asyncio.run(in_loop())
    elif sys.argv[1] == "beside-loop":
        codes = beside_loop()
    else:
        codes = []
        for _ in range(3):
            asyncio.run(use())
            codes.append(fork())
        asyncio.run(use())
    print(json.dumps({"codes": codes, "wrong": wrong[:5]}))


if __name__ == "__main__":
    main()
