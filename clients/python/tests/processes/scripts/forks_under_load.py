"""Forks again and again while other threads are in calls. The near cache has a feed, too."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from larder_cache import Client

client = Client(preset="local")
entries = client.namespace("load", near_cache=True)
plain = client.namespace("load-plain")
PARENT = os.getpid()
stopping = threading.Event()
calls = [0] * 4
wrong: list[str] = []


def traffic(index: int) -> None:
    """Reads and computes until the end."""
    while not stopping.is_set():
        key = f"{PARENT}-{index}-{calls[index] % 50}"
        result = plain.get_or_fetch(key, lambda key=key: key)  # type: ignore[misc]
        if result.value != key:
            wrong.append(f"{key}: {result!r}")
        read = plain.get(key)
        if read.degraded or read.error is not None:
            wrong.append(f"get {key}: {read!r}")
        entries.get(f"{os.getpid()}")
        calls[index] += 1


def in_child() -> int:
    """Calls in a child. Returns an exit code."""
    pid = os.getpid()
    plain.set(f"child-{pid}", pid)
    if plain.get(f"child-{pid}").value != pid:
        return 3
    if plain.get_or_fetch(f"fetched-{pid}", lambda: pid).value != pid:
        return 4
    entries.set(f"near-{PARENT}", pid)
    return 0 if entries.get(f"near-{PARENT}").value == pid else 5


def main() -> None:
    """Prints the exit codes of the children."""
    entries.set(f"near-{PARENT}", 0)
    threads = [threading.Thread(target=traffic, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(int(sys.argv[1])):
        time.sleep(0.05)
        child = os.fork()
        if child == 0:
            code = 9
            try:
                code = in_child()
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    before = sum(calls)
    deadline = time.monotonic() + 30
    while sum(calls) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    after = sum(calls)
    stopping.set()
    for thread in threads:
        thread.join()
    client.close()
    print(json.dumps({"codes": codes, "going_on": after > before, "wrong": wrong[:5]}))


if __name__ == "__main__":
    main()
