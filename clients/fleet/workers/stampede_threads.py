"""Calls of one key in many threads."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from larder_cache import Client

calls = json.loads(sys.argv[1])["calls"]
client = Client(call_timeout=10, fetch_margin=10)
entries = client.namespace("fleet")
loads = 0


def load(key: str) -> str:
    """Takes a second, as an expensive query does."""
    global loads
    loads += 1
    time.sleep(1)
    return f"{key} by threads"


def call(key: str, begin: threading.Barrier) -> tuple[Any, float]:
    """One call."""
    begin.wait()
    began = time.monotonic()
    result = entries.get_or_fetch(key, lambda: load(key), timeout=30)
    return result, time.monotonic() - began


client.connect(20)
with ThreadPoolExecutor(calls) as pool:
    print(json.dumps("ready"))
    for line in sys.stdin:
        key = line.strip()
        if key == "end":
            break
        loads = 0
        begin = threading.Barrier(calls)
        done = list(pool.map(call, [key] * calls, [begin] * calls))
        facts = {
            "loads": loads,
            "values": sorted({str(result.value) for result, _ in done}),
            "slowest": max(took for _, took in done),
            "wrong": [repr(result) for result, _ in done if result.error or not result.found][:3],
        }
        print(json.dumps(facts))
client.close()
