#!/usr/bin/env python3
"""Replicas of Larder, primaries of Redis, network and memory for a load.

    size.py                                 the table of docs/scale.md
    size.py --calls 200000 --value 300 --near 0.7 --cores 8
    size.py --check                         fails if the table of docs/scale.md is another one

docs/scale.md has the formula. The costs are those of scripts/scale/costs.py and fleet.py, and of
docs/benchmarks.md. Measure them on your own machines: they vary by a factor of two.
"""

import argparse
import math
import pathlib
import sys

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/scale.md"
CALLS = [10_000, 100_000, 1_000_000, 10_000_000]

# CPU in microseconds: of Larder per call, of Redis per call. A value adds its bytes: see VALUE.
NEAR_HIT = (8.2, 0.0)
HIT = (11.1, 4.0)
FETCH = (200.0, 40.0)
SET = (16.0, 17.0)
DELETE = (17.5, 8.0)
# CPU of Larder and Redis per KiB of value above the first KiB.
PER_KIB = (0.6, 0.5)
# CPU of Redis per changed key and replica that follows it.
PUSH = 0.07
# CPU of Redis per second and replica, in microseconds: probes and heartbeats, and counters of a
# namespace.
IDLE, NEAR_IDLE, COUNTERS = 100.0, 200.0, 6.0
# Bytes of a call besides key and value: caller to Larder, back, Larder to Redis, back.
CALL_BYTES, REDIS_BYTES = (70, 90), (60, 110)
# Bytes of an announcement besides the key, and of a key in Redis besides the key of the caller.
PUSH_BYTES, NAME_BYTES = 30, 24
# Bytes of an entry in Redis besides key and value.
ENTRY_BYTES = 230
# Share of a processor, and of the memory of a server, that is planned with.
LOAD, FULL = 0.5, 0.75


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--calls", type=int, nargs="*", default=CALLS, help="calls per second")
    add("--reads", type=float, default=0.95, help="share of GetOrFetch (the rest are Sets)")
    add("--hits", type=float, default=0.98, help="share of the reads that hit")
    add("--near", type=float, nargs="*", default=[0.0, 0.8], help="share of hits of near caches")
    add("--value", type=int, default=1024, help="bytes of a value")
    add("--key", type=int, default=16, help="bytes of a key")
    add("--namespaces", type=int, default=10, help="namespaces with calls")
    add("--seconds", type=float, default=100, help="entries per call per second")
    add("--cores", type=int, default=4, help="cores of a replica of Larder")
    add("--memory", type=float, default=32, help="GiB of a server of Redis")
    add("--check", action="store_true", help="compare with docs/scale.md")
    return parser.parse_args()


def size(given, calls, near):
    """The figures of a load. Replicas need each other's number, so that it is computed until it
    does not grow any more."""
    reads, hits = calls * given.reads, calls * given.reads * given.hits
    kinds = {
        NEAR_HIT: hits * near,
        HIT: hits * (1 - near),
        FETCH: reads - hits,
        SET: calls - reads,
    }
    extra = max(0, given.value - 1024) / 1024
    larder = sum(rate * (cost[0] + extra * PER_KIB[0]) for cost, rate in kinds.items())
    stored = calls - kinds[NEAR_HIT]
    redis = sum(rate * cost[1] for cost, rate in kinds.items()) + stored * extra * PER_KIB[1]
    replicas = max(2, math.ceil(larder / 1e6 / LOAD / given.cores) + 1)
    # A fetch changes its lease twice, which all replicas follow; near caches follow entries too.
    changes = 2 * kinds[FETCH] + (kinds[FETCH] + kinds[SET] if near else 0)
    redis += replicas * changes * PUSH
    redis += replicas * (IDLE + (NEAR_IDLE if near else 0) + COUNTERS * given.namespaces)
    entries = calls * given.seconds
    memory = entries * (given.value + given.key + ENTRY_BYTES) / FULL
    primaries = max(
        math.ceil(redis / 1e6 / LOAD),
        math.ceil(memory / given.memory / 2**30),
    )
    name = given.key + NAME_BYTES
    pushed = replicas * changes * (name + PUSH_BYTES)
    to_redis = stored * (sum(REDIS_BYTES) + 2 * name + given.value)
    return {
        "replicas": replicas,
        "cores": larder / 1e6,
        "primaries": primaries,
        "redis": redis / 1e6,
        "callers": calls * (sum(CALL_BYTES) + given.key + given.value) * 8 / 1e9,
        "network": to_redis * 8 / 1e9,
        "pushed": pushed * 8 / 1e9,
        "memory": memory / 2**30,
        "connections": replicas * (6 if near else 5),
    }


def number(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def table(given):
    header = ["calls/s", "near", "CPU of Larder, cores", "replicas", "CPU of Redis, cores"]
    header += ["primaries", "callers, Gbit/s", "Redis, Gbit/s", "announcements, Gbit/s"]
    header += ["memory of Redis, GiB", "connections per primary"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for calls in given.calls:
        for near in given.near:
            found = size(given, calls, near)
            cells = [f"{calls:,}", f"{near:.0%}", number(found["cores"]), str(found["replicas"])]
            cells += [number(found["redis"]), str(found["primaries"])]
            cells += [number(found[name]) for name in ("callers", "network", "pushed", "memory")]
            cells += [f"{found['connections']:,}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    given = arguments()
    text = table(given)
    if not given.check:
        print(text)
    elif text not in DOCUMENT.read_text():
        print(f"docs/scale.md does not have the table of scripts/scale/size.py:\n\n{text}")
        sys.exit(1)


if __name__ == "__main__":
    main()
