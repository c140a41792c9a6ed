#!/usr/bin/env python3
"""What a call costs: CPU of Larder and of Redis, bytes on both networks, commands; and the memory
of an entry.

    costs.py        the tables, on stdout and in target/bench/costs.md

SECONDS_EACH=5 is the time of each row. Larder runs on core 0, Redis and the load on core 1, over
TCP. scripts/scale/size.py has the figures as its defaults.
"""

import asyncio
import os
import subprocess
import threading
import time

import lib
from lib import Larder, Load, Redis

SECONDS = int(os.environ.get("SECONDS_EACH", "5"))
VALUE = 1024
KEYS = 100
FILE = "costs.md"
# As long as `key-` and twelve digits.
KEY = "key-000000000001"


class Origin(threading.Thread):
    """An HTTP origin that answers every request with a value."""

    def __init__(self):
        super().__init__(daemon=True)
        self.port = None
        self.start()
        lib.until(lambda: self.port, "the origin")

    def run(self):
        asyncio.run(self._serve())

    async def _serve(self):
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    async def _answer(self, reader, writer):
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {VALUE}\r\n\r\n".encode()
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(head + b"v" * VALUE)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def pin(process, core):
    for task in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(task), {core})


def measure(name, redis, replica, rpc, message, connections=8, streams=32):
    """One row."""
    Load(replica, rpc, message, connections, streams, 1).finish()
    before, larder = redis.snapshot(), lib.cpu_ns(replica.process.pid)
    load = Load(replica, rpc, message, connections, streams, SECONDS)
    pin(load.process, 1)
    done, received, sent = load.finish()
    larder, grown = lib.cpu_ns(replica.process.pid) - larder, redis.since(before)
    # Those of the scripts are not in it.
    commands = sum(grown["calls"].get(name, 0) for name in ("evalsha", "mget", "unlink"))
    return [
        name,
        f"{done / SECONDS:.0f}",
        f"{larder / done / 1000:.1f}",
        f"{grown['cpu'] / done / 1000:.1f}",
        f"{commands / done:.2f}",
        f"{sent:.0f}",
        f"{received:.0f}",
        f"{grown['in'] / done:.0f}",
        f"{grown['out'] / done:.0f}",
    ]


HEADER = ["call", "calls/s", "CPU of Larder, us", "CPU of Redis, us", "commands", "bytes to Larder"]
HEADER += ["from Larder", "to Redis", "from Redis"]


def measure_calls(redis, origin):
    config = '[namespaces.near.near_cache]\nmax_bytes = "64MiB"\n[namespaces.origin.origin]\n'
    config += f'url = "http://127.0.0.1:{origin.port}/{{key}}"\nmax_concurrency = 256\n'
    replica = Larder(f"redis://127.0.0.1:{redis.port}", config)
    replica.logged("the near cache follows Redis")
    pin(replica.process, 0)
    pin(redis.process, 1)
    keys = [f"key-{number:012}" for number in range(KEYS)]
    for name in ("store", "near", "origin"):
        items = lib.batch(lib.set_request(name, key, VALUE) for key in keys)
        lib.call(replica, "BatchSet", items)
    lib.call(replica, "Set", lib.set_request("big", KEY, 16 * VALUE))
    small = lib.batch(lib.set_request("small", key, 100) for key in keys)
    lib.call(replica, "BatchSet", small)
    entry = lib.entry
    batch = lib.batch(entry("small", key) for key in keys)
    large = lib.batch(entry("store", key) for key in keys)
    no_cache = lib.batch(entry("origin", key) for key in keys) + lib.field(4, 1)
    tags = lib.field(1, "store") + lib.field(2, "tag")
    ban = lib.field(1, lib.field(2, tags))
    every = lib.field(1, "store")
    rows = [
        measure("Get, near hit", redis, replica, "Get", entry("near", KEY)),
        measure("Get, hit", redis, replica, "Get", entry("store", KEY)),
        measure("Get, hit, 16 at a time", redis, replica, "Get", entry("store", KEY), 2, 8),
        measure("Get, miss", redis, replica, "Get", entry("store", "key-x00000000001")),
        measure("GetOrFetch, hit", redis, replica, "GetOrFetch", entry("origin", KEY)),
        measure("Set", redis, replica, "Set", lib.set_request("store", KEY, VALUE)),
        measure("Get of 16 KiB, hit", redis, replica, "Get", entry("big", KEY)),
        measure("Set of 16 KiB", redis, replica, "Set", lib.set_request("big", KEY, 16 * VALUE)),
        measure("Delete", redis, replica, "Delete", entry("store", "key-x00000000001")),
        measure("BatchGet of 100 of 100 B", redis, replica, "BatchGet", batch, 8, 4),
        measure("BatchGet of 100", redis, replica, "BatchGet", large, 8, 4),
        measure("100 fetches", redis, replica, "BatchGetOrFetch", no_cache, 2, 1),
        measure("Invalidate, one tag", redis, replica, "Invalidate", ban, 1, 1),
        measure("InvalidateNamespace", redis, replica, "InvalidateNamespace", every, 1, 1),
    ]
    print(f"Values of {VALUE} B, keys of {len(KEY)} B; Larder is of the profile {lib.PROFILE}:\n")
    lib.table(HEADER, rows, FILE)
    replica.stop()


def measure_announcements(redis):
    """What a replica spends on a changed key that Redis announces to it."""
    config = '[namespaces.near.near_cache]\nmax_bytes = "64MiB"\n'
    replica = Larder(f"redis://127.0.0.1:{redis.port}", config)
    replica.logged("the near cache follows Redis")
    pin(replica.process, 0)
    kinds = [
        ("entry of a near cache", "larder:{near:17}:k:key-__rand_int__"),
        ("lease", "larder:l:{near:17}:k:key-__rand_int__"),
        ("neither", "larder:{other:17}:k:key-__rand_int__"),
    ]
    rows, count = [], 300_000
    for name, key in kinds:
        command = ["redis-benchmark", "-p", str(redis.port), "-c", "8", "-P", "8", "-q"]
        command += ["-n", str(count), "-r", "1000000", "SET", key, "v"]
        before, larder = redis.snapshot(), lib.cpu_ns(replica.process.pid)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        larder, grown = lib.cpu_ns(replica.process.pid) - larder, redis.since(before)
        cells = [f"{cpu / count / 1000:.2f}" for cpu in (larder, grown["cpu"])]
        rows.append([name, *cells, f"{grown['out'] / count:.0f}"])
    print("A changed key that one replica follows:\n")
    header = ["key", "CPU of Larder, us", "CPU of Redis with its SET, us", "bytes out"]
    lib.table(header, rows, FILE)
    replica.stop()


def measure_memory(redis):
    """Memory of Redis per entry, over its key and value."""
    rows = []
    for size in (100, 1024, 10240):
        redis.ask("FLUSHALL")
        replica = Larder(f"redis://127.0.0.1:{redis.port}")
        replica.logged("the store is available")
        before, count = int(redis.info("memory")["used_memory"]), 20_000
        for first in range(0, count, 200):
            keys = [f"key-{number:012}" for number in range(first, first + 200)]
            items = lib.batch(lib.set_request("store", key, size) for key in keys)
            lib.call(replica, "BatchSet", items)
        grown = int(redis.info("memory")["used_memory"]) - before
        rows.append([size, f"{grown / count:.0f}", f"{grown / count - size - len(KEY):.0f}"])
        replica.stop()
    print("Memory of Redis:\n")
    lib.table(["bytes of a value", "bytes of an entry", "besides key and value"], rows, FILE)
    markers = redis.ask("KEYS", "larder:{store:*}:g")
    size = sum(redis.ask("MEMORY", "USAGE", marker) for marker in markers)
    lib.table(["markers of a namespace", "their bytes"], [[len(markers), size]], FILE)


def main():
    if "LARDER" not in os.environ:
        lib.build()
    lib.fresh(FILE)
    redis, origin = Redis(), Origin()
    measure_calls(redis, origin)
    measure_announcements(redis)
    measure_memory(redis)


if __name__ == "__main__":
    main()
