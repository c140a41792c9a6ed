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

# CPU of Larder and of Redis per call in microseconds, and bytes between both besides the value, for
# values of 1 KiB and keys of 16 bytes; then the CPU of both per KiB of value above the first.
NEAR_HIT = (8.2, 0.0, 0, 0.8, 0.0)
HIT = (11.1, 5.0, 180, 0.8, 0.4)
FETCH = (205.0, 55.0, 960, 2.7, 1.0)
SET = (16.0, 13.0, 340, 1.9, 0.6)
# CPU of both per changed key and replica that follows it, and bytes besides the key.
ANNOUNCED = (0.9, 0.07, 50)
# CPU of each primary per second and replica in microseconds: probes, and heartbeats of near caches
# on a cluster. That of one primary per replica and namespace: counters.
PROBES, HEARTBEATS, COUNTERS = 180.0, 350.0, 7.3
# Bytes of a call besides key and value, both ways.
CALL_BYTES = 160
# Bytes of an entry in Redis besides key and value, and what its allocator adds per byte of value.
ENTRY_BYTES, ROUNDING = 230, 0.19
# Share of a processor that is planned with, and of the memory of a server.
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
    """The figures of a load; none if it is too much for one fleet."""
    reads, hits = calls * given.reads, calls * given.reads * given.hits
    kinds = {
        NEAR_HIT: hits * near,
        HIT: hits * (1 - near),
        FETCH: reads - hits,
        SET: calls - reads,
    }
    extra = max(0, given.value - 1024) / 1024
    of_calls = sum(rate * (cost[0] + extra * cost[3]) for cost, rate in kinds.items())
    # A fetch changes its lease twice, which all replicas follow; near caches follow entries too.
    changes = 2 * kinds[FETCH] + (kinds[FETCH] + kinds[SET] if near else 0)
    # Each replica gets all of them: what is left of it is for calls.
    left = given.cores * LOAD * 1e6 - changes * ANNOUNCED[0]
    if left <= 0:
        return None
    replicas = max(2, math.ceil(of_calls / left) + 1)
    larder = of_calls + replicas * changes * ANNOUNCED[0]
    stored = calls - kinds[NEAR_HIT]
    redis = sum(rate * (cost[1] + extra * cost[4]) for cost, rate in kinds.items())
    redis += replicas * changes * ANNOUNCED[1]
    redis += replicas * COUNTERS * given.namespaces
    idle = replicas * (PROBES + (HEARTBEATS if near else 0))
    if idle >= LOAD * 1e6:
        return None
    entry = given.value * (1 + ROUNDING) + given.key + ENTRY_BYTES
    memory = calls * given.seconds * entry / FULL
    by_load = math.ceil(redis / (LOAD * 1e6 - idle))
    by_memory = math.ceil(memory / given.memory / 2**30)
    redis += max(by_load, by_memory) * idle
    between = sum(rate * cost[2] for cost, rate in kinds.items())
    between += stored * (given.value + 2 * (given.key - 16))
    pushed = replicas * changes * (given.key + ANNOUNCED[2])
    return {
        "larder": number(larder / 1e6),
        "replicas": str(replicas),
        "redis": number(redis / 1e6),
        "primaries": f"{max(by_load, by_memory)} ({by_load})",
        "callers": number(calls * (CALL_BYTES + given.key + given.value) * 8 / 1e9),
        "between": number(between * 8 / 1e9),
        "pushed": number(pushed * 8 / 1e9),
        "memory": number(memory / 2**30),
        "connections": str(replicas * (6 if near else 5)),
    }


def number(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


HEADER = {
    "larder": "cores of Larder",
    "replicas": "replicas",
    "redis": "cores of Redis",
    "primaries": "primaries (by load)",
    "callers": "callers, Gbit/s",
    "between": "Redis, Gbit/s",
    "pushed": "announcements, Gbit/s",
    "memory": "memory of Redis, GiB",
    "connections": "connections per primary",
}


def table(given):
    lines = ["| " + " | ".join(["calls/s", "near hits", *HEADER.values()]) + " |"]
    lines.append("|" + "---|" * (len(HEADER) + 2))
    for calls in given.calls:
        for near in given.near:
            found = size(given, calls, near)
            cells = [found[name] for name in HEADER] if found else ["too much for one fleet"]
            cells += [""] * (len(HEADER) - len(cells))
            lines.append("| " + " | ".join([f"{calls:,}", f"{near:.0%}", *cells]) + " |")
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
