"""All kinds of calls in threads, until `end`."""

from __future__ import annotations

import gc
import json
import logging
import random
import sys
import threading
import time
from typing import Any

import grpc

from larder_cache import Client, NearCache

from soaking import Boom, Notes, callers, some_call, some_key, some_keys, value_of

logging.basicConfig(level=logging.ERROR)
before = {thread.name for thread in threading.enumerate()}
notes = Notes()
client = Client()
entries = client.namespace("soak", tags=("all",))
near = client.namespace("soak", near_cache=NearCache(max_entries=200))
counts = client.namespace("soak-counts")


def load(key: str) -> Any:
    """Takes 1 to 50 ms, and fails now and then."""
    time.sleep(random.uniform(0.001, 0.05))
    if random.random() < 0.01:
        raise Boom
    return value_of(key, "threads")


def load_many(keys: list[str]) -> dict[str, Any]:
    """The same for a batch."""
    time.sleep(random.uniform(0.001, 0.05))
    return {key: value_of(key, "threads") for key in keys}


def make(call: str) -> None:
    """One call."""
    key = some_key()
    if call == "get":
        notes.read(key, entries.get(key))
    elif call == "near":
        notes.read(key, near.get(key))
    elif call == "fetch":
        notes.read(key, entries.get_or_fetch(key, lambda: load(key), tags=[f"t-{key[-1]}"]))
    elif call == "many":
        for each, result in entries.get_many(some_keys()).items():
            notes.read(each, result)
    elif call == "fetch_many":
        for each, result in entries.get_or_fetch_many(some_keys(), load_many).items():
            notes.read(each, result)
    elif call == "set":
        entries.set(key, value_of(key, "threads"), ttl=random.uniform(1, 30))
    elif call == "set_many":
        entries.set_many({each: value_of(each, "threads") for each in some_keys()})
    elif call == "touch":
        entries.touch(key, 20)
    elif call == "delete":
        entries.delete(key)
    elif call == "increment":
        counts.increment(key)
    else:
        near.invalidate(tags=[f"t-{key[-1]}"])


def caller() -> None:
    """Calls without a pause until the end."""
    while not notes.ending:
        call, began = some_call(), time.monotonic()
        try:
            make(call)
        except Exception as error:  # noqa: BLE001
            notes.failed(call, error)
        notes.done(call, began)


client.connect(20)
threads = [threading.Thread(target=caller) for _ in range(callers())]
for thread in threads:
    thread.start()
print(json.dumps("ready"))
sys.stdin.readline()
notes.ending = True
for thread in threads:
    thread.join()
client.close()
# A closed client keeps its closed channel; nothing else may.
for name in ("client", "entries", "near", "counts"):
    del globals()[name]
# The threads of gRPC end soon after their channel.
deadline = time.monotonic() + 5
while time.monotonic() < deadline:
    gc.collect()
    alive = [t.name for t in threading.enumerate() if t.name not in before]
    channels = sum(isinstance(each, grpc.Channel) for each in gc.get_objects())
    notes.left = {name: left for name, left in (("threads", alive), ("channels", channels)) if left}
    if not notes.left:
        break
    time.sleep(0.05)
print(notes.report())
