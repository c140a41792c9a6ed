#!/usr/bin/env python3
"""What a fleet costs one Redis: commands, CPU and bytes that grow with the replicas and namespaces.

    fleet.py                  all tables, on stdout and in target/bench/fleet.md
    fleet.py idle pushes      some of them: idle, near, load, samples, pushes, bans, leases,
                              cluster, watch, sentinel

REPLICAS="1 4 16" NAMESPACES="1 100" SECONDS_EACH=10 choose the sizes. Replicas run on this machine,
so that Larder's own CPU says nothing here; that of Redis does.
"""

import os
import subprocess
import sys
import time

import lib
from followers import cost_of_set
from lib import Larder, Load, Redis

REPLICAS = [int(number) for number in os.environ.get("REPLICAS", "1 2 4 8 16").split()]
NAMESPACES = [int(number) for number in os.environ.get("NAMESPACES", "1 10 100").split()]
SECONDS = int(os.environ.get("SECONDS_EACH", "10"))
# Clients that follow a prefix, and prefixes, for the cost of an announcement.
FOLLOWERS = [0, 1, 8, 32, 128]
PREFIXES = [1, 10, 32, 100, 1000]
FILE = "fleet.md"

# Commands. Those within scripts count for themselves, and in EVALSHA.
SOURCES = {
    "PING, TIME, HGETALL": ["ping", "time", "hgetall"],
    "HELLO": ["hello"],
    "scripts": ["evalsha"],
    "counters, within": ["hincrby", "hexists", "hlen"],
    "MGET": ["mget"],
}


def namespaces(count):
    return [f"ns{number:03}" for number in range(count)]


def near(count):
    """The configuration of near caches for all namespaces."""
    return "".join(f'[namespaces.{name}.near_cache]\nmax_bytes = "1MiB"\n' for name in count)


def fleet(redis, size, config="", scheme="redis", **variables):
    store = f"{scheme}://127.0.0.1:{redis.port}"
    replicas = [Larder(store, config, **variables) for _ in range(size)]
    for replica in replicas:
        replica.logged("the store is available")
    return replicas


def stop(replicas):
    for replica in replicas:
        replica.stop()


def rates(grown, size):
    """Commands per second by source, per replica."""
    seconds, calls = grown["seconds"], grown["calls"]
    cells = []
    for names in SOURCES.values():
        cells.append(f"{sum(calls.get(name, 0) for name in names) / seconds / size:.1f}")
    return cells


def row(size, count, redis, before):
    grown = redis.since(before)
    seconds, clients = grown["seconds"], int(redis.info("clients")["connected_clients"])
    memory = int(redis.info("memory")["mem_clients_normal"])
    cpu = grown["cpu"] / seconds / 1e7
    kib = (grown["in"] + grown["out"]) / seconds / 1024
    return [
        size,
        count,
        clients - 1,
        *rates(grown, size),
        f"{cpu:.2f} %",
        f"{cpu / size:.3f} %",
        f"{kib / size:.2f}",
        f"{memory / clients / 1024:.0f}",
    ]


HEADER = ["replicas", "namespaces", "connections", *SOURCES, "CPU of Redis", "per replica"]
HEADER += ["KiB/s per replica", "KiB of Redis per connection"]


def sizes():
    return [(size, count) for count in NAMESPACES for size in REPLICAS]


def measure_idle():
    """Replicas without calls. Namespaces without calls cost nothing, so that there are none."""
    rows = []
    for size in REPLICAS:
        redis = Redis()
        replicas = fleet(redis, size)
        time.sleep(3)
        before = redis.snapshot()
        time.sleep(SECONDS)
        rows.append(row(size, 0, redis, before))
        stop(replicas)
        redis.stop()
    print("Idle. Commands per second and replica:\n")
    lib.table(HEADER, rows, FILE)


def measure_near():
    """Replicas with near caches, without calls."""
    rows = []
    for size, count in sizes():
        redis = Redis()
        replicas = fleet(redis, size, near(namespaces(count)))
        for replica in replicas:
            replica.logged("the near cache follows Redis")
        time.sleep(3)
        before = redis.snapshot()
        time.sleep(SECONDS)
        rows.append(row(size, count, redis, before))
        stop(replicas)
        redis.stop()
    print("Idle with near caches. Commands per second and replica:\n")
    lib.table(HEADER, rows, FILE)


def measure_load():
    """Each replica gets two batches a second, with one key of each namespace: so all of them have
    counts in every flush."""
    rows = []
    for size, count in sizes():
        redis = Redis()
        replicas = fleet(redis, size)
        message = lib.batch(lib.entry(name, "key-0001") for name in namespaces(count))
        loads = [Load(one, "BatchGet", message, 1, 1, SECONDS + 3, rate=2) for one in replicas]
        time.sleep(2)
        before = redis.snapshot()
        time.sleep(SECONDS)
        rows.append(row(size, count, redis, before))
        for load in loads:
            load.finish()
        stop(replicas)
        redis.stop()
    print("Two BatchGets per second and replica. Commands per second and replica:\n")
    lib.table(HEADER, rows, FILE)


def measure_samples():
    """Each replica gets 20 batches a second, with 1,000 keys of 64 namespaces: the most of which
    hot keys are followed."""
    rows, names = [], namespaces(64)
    for size in [size for size in REPLICAS if size <= 4]:
        redis = Redis()
        replicas = fleet(redis, size)
        keys = (lib.entry(names[n % 64], f"key-{n:012}") for n in range(1000))
        message = lib.batch(keys)
        loads = [Load(one, "BatchGet", message, 1, 1, SECONDS + 9, rate=20) for one in replicas]
        time.sleep(8)
        before = redis.snapshot()
        time.sleep(SECONDS)
        grown, seconds = redis.since(before), SECONDS * size
        for load in loads:
            load.finish()
        counts = [grown["calls"].get(name, 0) / seconds for name in ("hset", "pexpire")]
        sizes = [redis.ask("MEMORY", "USAGE", key) for key in redis.ask("KEYS", "*:hot:*")]
        per_field = sum(sizes) / max(1, len(sizes)) / size
        rows.append([size, *(f"{count:.1f}" for count in counts), len(sizes), f"{per_field:.0f}"])
        stop(replicas)
        redis.stop()
    print("Samples of hot keys. Commands per second and replica:\n")
    header = ["replicas", "HSET", "PEXPIRE", "hashes", "bytes per hash and replica"]
    lib.table(header, rows, FILE)


def prefixes(count):
    return [f"larder:{{{name}:" for name in namespaces(count)]


def measure_pushes():
    rows = []
    for followers in FOLLOWERS:
        costs = [cost_of_set(followers, prefixes(count)) for count in PREFIXES]
        cells = [f"{cpu:.2f}" for cpu, _ in costs]
        rows.append([followers, *cells, f"{costs[0][1]:.0f}"])
    print("CPU of Redis per SET in us, by clients and by the prefixes that each follows:\n")
    header = ["clients", "1 prefix", *(f"{count} prefixes" for count in PREFIXES[1:])]
    lib.table([*header, "bytes out per SET"], rows, FILE)


def measure_bans():
    """One Invalidate of a tag at a time, while all replicas have near caches of the namespace and
    have read from it."""
    rows, names = [], namespaces(1)
    for size in REPLICAS:
        redis = Redis()
        replicas = fleet(redis, size, near(names), LARDER_STATS__FLUSH_INTERVAL="1h")
        for replica in replicas:
            replica.logged("the near cache follows Redis")
        # A marker for each shard.
        items = [lib.set_request(names[0], f"key-{n:04}", 100, ["a"]) for n in range(500)]
        lib.call(replicas[0], "BatchSet", lib.batch(items))
        for replica in replicas:
            reads = lib.batch(lib.entry(names[0], f"key-{n:04}") for n in range(500))
            lib.call(replica, "BatchGet", reads)
        target = lib.field(1, lib.field(2, lib.field(1, names[0]) + lib.field(2, "b")))
        idle = redis.snapshot()
        time.sleep(SECONDS)
        idle = redis.since(idle)
        before = redis.snapshot()
        done, _, _ = Load(replicas[0], "Invalidate", target, 1, 1, SECONDS, rate=10).finish()
        time.sleep(0.5)
        grown = redis.since(before)

        def per_ban(name):
            idle_calls = idle["calls"].get(name, 0) * grown["seconds"] / idle["seconds"]
            return f"{(grown['calls'].get(name, 0) - idle_calls) / done:.1f}"

        idle_cpu = idle["cpu"] * grown["seconds"] / idle["seconds"]
        out = (grown["out"] - idle["out"] * grown["seconds"] / idle["seconds"]) / done / 1024
        cells = [per_ban(name) for name in ("evalsha", "mget", "get", "set", "zrangebyscore")]
        cpu = (grown["cpu"] - idle_cpu) / done / 1000
        rows.append([size, *cells, f"{cpu:.0f} us", f"{out:.1f}"])
        stop(replicas)
        redis.stop()
    print("One ban of a tag, with near caches. Calls per ban:\n")
    header = ["replicas", "scripts", "MGET", "GET", "SET", "ZRANGEBYSCORE", "CPU of Redis"]
    lib.table([*header, "KiB out"], rows, FILE)


def measure_leases():
    """One caller per replica waits for a value that another caller computes."""
    rows, name = [], namespaces(1)[0]
    for size in REPLICAS:
        redis = Redis()
        replicas = fleet(redis, size, LARDER_STATS__FLUSH_INTERVAL="1h")
        # The first caller gets the lease.
        lib.call(replicas[0], "GetOrFetch", lib.entry(name, "key"))
        idle = redis.snapshot()
        time.sleep(3)
        idle = redis.since(idle)
        before = redis.snapshot()
        wait = lib.entry(name, "key") + lib.field(5, lib.field(1, 4))
        loads = [Load(one, "GetOrFetch", wait, 1, 1, 4, rate=1) for one in replicas]
        time.sleep(3)
        grown = redis.since(before)
        for load in loads:
            lib.stop(load.process)
        stop(replicas)
        redis.stop()
        scripts = grown["calls"].get("evalsha", 0) / grown["seconds"]
        scripts -= idle["calls"].get("evalsha", 0) / idle["seconds"]
        rows.append([size, f"{scripts:.1f}", f"{scripts / size:.2f}"])
    print("One waiting call per replica, while the lease is held:\n")
    lib.table(["replicas", "scripts/s", "per replica"], rows, FILE)


def measure_cluster():
    """The commands that each replica sends to a primary of a cluster, with a near cache."""
    rows = []
    for size in REPLICAS:
        redis = Redis("--cluster-enabled", "yes")
        redis.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        lib.until(lambda: "cluster_state:ok" in redis.ask("CLUSTER", "INFO"), "the cluster")
        replicas = fleet(redis, size, near(namespaces(1)), scheme="redis-cluster")
        for replica in replicas:
            replica.logged("the near cache follows Redis")
        time.sleep(3)
        before = redis.snapshot()
        time.sleep(SECONDS)
        grown = redis.since(before)
        names = ("ping", "hello", "cluster|info", "cluster|slots")
        rates = [f"{grown['calls'].get(name, 0) / grown['seconds'] / size:.1f}" for name in names]
        clients = int(redis.info("clients")["connected_clients"]) - 1
        cpu = grown["cpu"] / grown["seconds"] / 1e7
        rows.append([size, clients, *rates, f"{cpu:.2f} %", f"{cpu / size:.3f} %"])
        stop(replicas)
        redis.stop()
    print("A primary of a cluster, idle, with a near cache. Commands per second and replica:\n")
    header = ["replicas", "connections", "PING", "HELLO", "CLUSTER INFO", "CLUSTER SLOTS"]
    lib.table([*header, "CPU of Redis", "per replica"], rows, FILE)


def measure_watch():
    """One watch of a namespace on each replica."""
    rows = []
    for size in REPLICAS:
        redis = Redis()
        replicas = fleet(redis, size)
        command = [lib.LARDER, "watch", namespaces(1)[0], "--address"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        watches = [lib.start([*command, one.address], **quiet) for one in replicas]
        for replica in replicas:
            replica.logged("watches follow Redis")
        time.sleep(3)
        before = redis.snapshot()
        time.sleep(SECONDS)
        rows.append(row(size, 1, redis, before))
        for watch in watches:
            lib.stop(watch)
        stop(replicas)
        redis.stop()
    print("Idle with a watch on each. Commands per second and replica:\n")
    lib.table(HEADER, rows, FILE)


def measure_sentinel():
    """The questions of idle replicas to one sentinel."""
    rows = []
    for size in REPLICAS:
        redis = Redis()
        settings = lib.work / f"sentinel-{redis.port}.conf"
        settings.write_text(f"sentinel monitor main 127.0.0.1 {redis.port} 1\n")
        sentinel = Redis(file=settings)
        store = f"redis-sentinel://127.0.0.1:{sentinel.port}/main"
        replicas = [Larder(store) for _ in range(size)]
        for replica in replicas:
            replica.logged("the store is available")
        time.sleep(3)
        before = sentinel.snapshot()
        time.sleep(SECONDS)
        grown = sentinel.since(before)
        # A sentinel does not count by command. Two are those of the snapshots.
        total = (grown["commands"] - 2) / grown["seconds"] / size
        clients = int(sentinel.info("clients")["connected_clients"]) - 1
        cpu = grown["cpu"] / grown["seconds"] / 1e7
        rows.append([size, clients, f"{total:.1f}", f"{cpu:.2f} %", f"{cpu / size:.3f} %"])
        stop(replicas)
        sentinel.stop()
        redis.stop()
    print("A sentinel of idle replicas:\n")
    header = ["replicas", "connections", "commands/s per replica", "CPU of the sentinel"]
    lib.table([*header, "per replica"], rows, FILE)


MEASURES = {
    "idle": measure_idle,
    "near": measure_near,
    "load": measure_load,
    "samples": measure_samples,
    "pushes": measure_pushes,
    "bans": measure_bans,
    "leases": measure_leases,
    "cluster": measure_cluster,
    "watch": measure_watch,
    "sentinel": measure_sentinel,
}


def main():
    chosen = sys.argv[1:] or list(MEASURES)
    if unknown := set(chosen) - set(MEASURES):
        lib.fail(f"unknown: {' '.join(unknown)}")
    if "LARDER" not in os.environ:
        lib.build()
    lib.fresh(FILE)
    for name in chosen:
        MEASURES[name]()


if __name__ == "__main__":
    main()
