"""multiprocessing with a start method: the parent uses its client before, meanwhile and after."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from larder_cache import Client

client = Client(preset="local")
entries = client.namespace("multi")


def work(parent: int) -> dict[str, int]:
    """In a child: calls of the module's client."""
    pid = os.getpid()
    entries.set(f"child-{pid}", pid)
    return {
        "pid": pid,
        "parent": entries.get(f"parent-{parent}").value,
        "own": entries.get(f"child-{pid}").value,
        "fetched": entries.get_or_fetch(f"fetched-{pid}", lambda: pid).value,
    }


def main() -> None:
    """Runs children one after the other in a Pool, and in a ProcessPoolExecutor."""
    method, pool_kind = sys.argv[1], sys.argv[2]
    parent = os.getpid()
    entries.set(f"parent-{parent}", parent)
    context = multiprocessing.get_context(method)
    if pool_kind == "pool":
        with context.Pool(2) as pool:
            found = pool.map(work, [parent] * 8, chunksize=1)
    else:
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            found = list(executor.map(work, [parent] * 8))
    for facts in found:
        # The parent reads what the children wrote, on a connection that has survived.
        assert entries.get(f"child-{facts['pid']}").value == facts["pid"]
    print(json.dumps({"parent": parent, "children": found}))


if __name__ == "__main__":
    main()
