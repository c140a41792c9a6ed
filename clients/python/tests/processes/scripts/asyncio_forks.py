"""Forks after an asyncio client was used: outside of a loop, or while a loop runs."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from larder_cache import AsyncClient

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


async def in_loop() -> list[int]:
    """Forks while the loop runs; it works afterwards."""
    await use()
    codes = []
    for _ in range(3):
        codes.append(fork())
        await use()
    await client.close()
    return codes


def main() -> None:
    """Prints the exit codes of the children."""
    if sys.argv[1] == "in-loop":
        codes = asyncio.run(in_loop())
    else:
        codes = []
        for _ in range(3):
            asyncio.run(use())
            codes.append(fork())
        asyncio.run(use())
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
