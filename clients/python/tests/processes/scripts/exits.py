"""Programs that end without closing their clients, each in a way of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from typing import Any

from larder_cache import AsyncClient, Client, Namespace
from larder_cache.errors import ClientClosed


def used() -> Client:
    """A client with a connection, a feed, a timer and a computation in the background."""
    client = Client(preset="local")
    near = client.namespace("exits-near", near_cache=True)
    near.get("k")
    entries = client.namespace("exits")
    started = threading.Event()

    def slow() -> str:
        started.set()
        time.sleep(600)
        return "never"

    daemon = threading.Thread(target=entries.get_or_fetch, args=(f"s{os.getpid()}", slow))
    daemon.daemon = True
    daemon.start()
    started.wait()
    for _ in range(3):
        threading.Thread(target=reading, args=(entries,), daemon=True).start()
    time.sleep(0.2)
    return client


def reading(entries: Namespace[Any]) -> None:
    """Reads until the process ends, or the client is closed."""
    with contextlib.suppress(ClientClosed):
        while True:
            entries.get("k")


async def asyncio_used() -> AsyncClient:
    """The same for asyncio."""
    client = AsyncClient(preset="local")
    await client.namespace("exits-near", near_cache=True).get("k")
    await client.namespace("exits").set("k", 1)
    return client


kept: list[object] = []
way = sys.argv[1]
if way == "end":
    kept.append(used())
elif way == "idle":
    idle = Client(preset="local")
    idle.namespace("exits").get("k")
elif way == "exit":
    kept.append(used())
    sys.exit(0)
elif way == "os._exit":
    kept.append(used())
    os._exit(0)
elif way == "dropped":
    used()
elif way == "asyncio":
    kept.append(asyncio.run(asyncio_used()))
elif way == "asyncio-dropped":
    asyncio.run(asyncio_used())
elif way == "closed":
    client = used()
    client.close(timeout=0.5)
elif way == "never-used":
    kept += [Client(), AsyncClient()]
else:
    raise SystemExit(f"unknown way {way}")
