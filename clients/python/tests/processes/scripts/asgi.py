"""An ASGI application whose client is made at import."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from larder_cache import AsyncClient

client = AsyncClient(preset="local")
entries = client.namespace("asgi")
near = client.namespace("asgi-near", near_cache=True)
loads = 0


async def _slowly() -> int:
    global loads
    loads += 1
    await asyncio.sleep(0.2)
    return os.getpid()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Makes calls of all kinds, many of them at the same time."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await client.close()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    pid = os.getpid()
    key = f"once-{scope['query_string'].decode()}"
    await entries.set(f"worker-{pid}", pid)
    await near.set(f"near-{pid}", pid)
    fetched = await asyncio.gather(*(entries.get_or_fetch(key, _slowly) for _ in range(20)))
    facts = {
        "pid": pid,
        "own": (await entries.get(f"worker-{pid}")).value,
        "fetched": sorted({result.value for result in fetched}),
        "near": (await near.get(f"near-{pid}")).value,
        "near_tier": (await near.get(f"near-{pid}")).tier,
        "loads": loads,
        "loop": type(asyncio.get_running_loop()).__module__,
    }
    body = json.dumps(facts).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
