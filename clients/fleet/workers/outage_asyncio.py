"""Reads without a pause between the phases of an outage, in tasks."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from larder_cache import AsyncClient

from outages import PAUSE, Notes


async def main() -> None:
    """Runs the callers, and reads the commands."""
    notes = Notes()
    async with AsyncClient() as client:
        entries = client.namespace("outage")

        async def caller(number: int) -> None:
            turn = 0
            while notes.phase != "end":
                turn += 1
                phase, began = notes.phase, time.monotonic()
                key = f"asyncio-{number}-{turn % 20}"

                async def load(key: str = key) -> str:
                    return key

                try:
                    notes.read(await entries.get(key), began, phase)
                    began = time.monotonic()
                    result = await entries.get_or_fetch(key, load)
                    notes.fetched(result, key)
                    notes.read(result, began, phase)
                except Exception as error:  # noqa: BLE001
                    notes.raised.append(repr(error))
                await asyncio.sleep(PAUSE)

        await client.connect(20)
        count = json.loads(sys.argv[1])["callers"]
        callers = [asyncio.create_task(caller(number)) for number in range(count)]
        print(json.dumps("ready"))
        while notes.phase != "end":
            notes.command((await asyncio.to_thread(sys.stdin.readline)).strip() or "end")
        await asyncio.gather(*callers)
    print(notes.report())


asyncio.run(main())
