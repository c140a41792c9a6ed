"""Reads without a pause between the phases of an outage, in threads."""

from __future__ import annotations

import json
import sys
import threading
import time

from larder_cache import Client

from outages import PAUSE, Notes

notes = Notes()
client = Client()
entries = client.namespace("outage")


def caller(number: int) -> None:
    """Reads and computes until the end."""
    turn = 0
    while notes.phase != "end":
        turn += 1
        phase, began = notes.phase, time.monotonic()
        key = f"threads-{number}-{turn % 20}"
        try:
            notes.read(entries.get(key), began, phase)
            began = time.monotonic()
            result = entries.get_or_fetch(key, lambda key=key: key)  # type: ignore[misc]
            notes.fetched(result, key)
            notes.read(result, began, phase)
        except Exception as error:  # noqa: BLE001
            notes.raised.append(repr(error))
        time.sleep(PAUSE)


client.connect(20)
callers = [
    threading.Thread(target=caller, args=(number,))
    for number in range(json.loads(sys.argv[1])["callers"])
]
for thread in callers:
    thread.start()
print(json.dumps("ready"))
for line in sys.stdin:
    notes.command(line.strip())
    if notes.phase == "end":
        break
for thread in callers:
    thread.join()
client.close()
print(notes.report())
