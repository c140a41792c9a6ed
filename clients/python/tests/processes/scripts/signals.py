"""Waits for SIGINT in a call, in a loader, or in asyncio. It prints what became of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

from larder_cache import AsyncClient, Client, Miss


def waits() -> None:
    """A loader that is interrupted."""
    print("ready", flush=True)
    time.sleep(60)


async def waits_in_asyncio() -> None:
    """The same in a task."""
    print("ready", flush=True)
    await asyncio.sleep(60)


def blocking(way: str) -> dict[str, object]:
    """A blocking client."""
    client = Client(preset="local", call_timeout=60, fetch_margin=60)
    entries = client.namespace("signals")
    key = sys.argv[2]
    entries.set("k", 1)
    interrupted = False
    if way == "call":
        os.kill(int(sys.argv[3]), signal.SIGSTOP)
    try:
        if way == "call":
            print("ready", flush=True)
            # The first may be answered before the server has stopped.
            for _ in range(100):
                entries.get("k")
        elif way == "loader":
            entries.get_or_fetch(key, waits)
        else:
            print("ready", flush=True)
            entries.get_or_fetch(key, lambda: 1, timeout=60)
    except KeyboardInterrupt:
        interrupted = True
    if way == "call":
        os.kill(int(sys.argv[3]), signal.SIGCONT)
    began = time.monotonic()
    # The client works, and the lease of an interrupted loader is passed on at once.
    value = entries.get_or_fetch(f"{key}-after" if way == "waiting" else key, lambda: 7).value
    took = time.monotonic() - began
    client.close()
    return {"interrupted": interrupted, "value": value, "took": took}


async def of_asyncio() -> None:
    """An asyncio client: the loop cancels its task."""
    async with AsyncClient(preset="local", call_timeout=60) as client:
        entries = client.namespace("signals")
        await entries.set("k", 1)
        await entries.get_or_fetch(sys.argv[2], waits_in_asyncio)


if __name__ == "__main__":
    # A program that a script has started in the background ignores SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.argv[1] == "asyncio":
        try:
            asyncio.run(of_asyncio())
        except KeyboardInterrupt:
            with Client(preset="local") as again:
                began = time.monotonic()
                found = again.namespace("signals").get_or_fetch(sys.argv[2], lambda: 7)
                took = time.monotonic() - began
            assert not isinstance(found, Miss)
            print(json.dumps({"interrupted": True, "value": found.value, "took": took}))
    else:
        print(json.dumps(blocking(sys.argv[1])))
