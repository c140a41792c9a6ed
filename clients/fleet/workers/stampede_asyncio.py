"""Calls of one key in many tasks."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from larder_cache import AsyncClient

calls = json.loads(sys.argv[1])["calls"]
loads = 0


async def load(key: str) -> str:
    """Takes a second, as an expensive query does."""
    global loads
    loads += 1
    await asyncio.sleep(1)
    return f"{key} by asyncio"


async def main() -> None:
    """Reads keys, and makes the calls."""
    global loads
    async with AsyncClient(call_timeout=10, fetch_margin=10) as client:
        entries = client.namespace("fleet")

        async def call(key: str) -> tuple[Any, float]:
            began = time.monotonic()
            result = await entries.get_or_fetch(key, lambda: load(key), timeout=30)
            return result, time.monotonic() - began

        await client.connect(20)
        print(json.dumps("ready"))
        while (key := (await asyncio.to_thread(sys.stdin.readline)).strip()) not in ("", "end"):
            loads = 0
            done = await asyncio.gather(*(call(key) for _ in range(calls)))
            facts = {
                "loads": loads,
                "values": sorted({str(result.value) for result, _ in done}),
                "slowest": max(took for _, took in done),
                "wrong": [repr(result) for result, _ in done if result.error or not result.found][
                    :3
                ],
            }
            print(json.dumps(facts))


asyncio.run(main())
