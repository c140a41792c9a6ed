"""Five clients in five languages, in processes of their own, on three replicas and one Redis."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from larder_cache.testing import LarderServer

from polyglot_calls import CALLS, SPELLINGS, difference, values_of
from processes import Broken, Worker, until, verdict
from sentinel import Service

# Kinds of workers by language.
WORKERS = {"python": "threads", "node": "node", "go": "go", "java": "java", "rust": "rust"}
REPLICAS = 3
CONFIG = """
[defaults]
ttl = "60s"
ttl_jitter = 0.0
lease_ttl = "3s"

# 5,000 callers on a few cores are no outage of Redis.
[store]
timeout = "2s"

[watch]
heartbeat = "1s"
max_delay = "1s"
"""
CALLERS = 1000
LOADER_SECONDS = 1.0
# The loader, the way of its value to all, and 5,000 callers of a busy machine.
SLOWEST_CALL = 10.0
# `max_delay`: a near cache is outdated for no longer.
NEAR_BOUND = 1.0
# `heartbeat` and `max_delay`: the same if the replica that it follows is silent, after the arrival
# of its last message, which takes a moment.
SILENT_BOUND = 2.0 + 0.5
# Reads in a row without the former value, after which it is gone; when some have no answer.
GONE, GONE_SILENT = 20, 3
CHANGES = ["set", "delete", "invalidate"] * 3
UNDER_LOAD = {"callers": 6, "pause": 0.02}
# Calls of each worker without one of the replicas, and after it is back.
CALLS_PER_FAULT = 50
# Values that each worker reads in a row with the cache, and from its near cache, after a fault.
READ_AGAIN = {"hits": 200, "near": 10}
LONGEST_CALL = 15.0
RECOVERY = 30.0


def main() -> None:
    """Prints a line per check and language. The arguments are languages, in place of all."""
    languages = sys.argv[1:] or list(WORKERS)
    with ExitStack() as stack:
        service = stack.enter_context(Service())
        replicas = [LarderServer(CONFIG, store=service.url) for _ in range(REPLICAS)]
        for replica in replicas:
            stack.enter_context(replica)
        target = ",".join(replica.target for replica in replicas)
        workers = []
        for language in languages:
            workers.append(Worker(WORKERS[language], "polyglot", target, {}))
            stack.callback(workers[-1].kill)
        ask_all(workers, do="connect", preset="local")
        equal_keys(workers)
        shared_values(workers)
        stampedes(workers)
        near_caches(workers)
        ask_all(workers, do="connect", preset="service")
        silent_replicas(workers, replicas)
        faults(workers, replicas, service)
        ask_all(workers, do="connect", preset="local")
        shared_values(workers)
        ask_all(workers, do="close")
        for worker in workers:
            if worker.end() != 0:
                raise Broken(f"{worker.language}: {worker.errors}")


def ask_all(workers: list[Worker], **command: Any) -> list[Any]:
    """The answers of all workers to a command."""
    for worker in workers:
        worker.command(**command)
    return [worker.answer() for worker in workers]


def others(workers: list[Worker]) -> Iterator[tuple[Worker, list[Worker]]]:
    """Each worker with all others."""
    for worker in workers:
        yield worker, [other for other in workers if other is not worker]


def equal_keys(workers: list[Worker]) -> None:
    """The same call is the same entry in all languages, however it is spelled."""
    calls = CALLS + [call for call, _ in SPELLINGS]
    answers = ask_all(workers, do="keys", calls=calls)
    problems = []
    for worker, keys in zip(workers, answers):
        for call, ours, theirs in zip(calls, answers[0], keys):
            if ours != theirs:
                problems.append(
                    f"{call}: {theirs} in {worker.language}, {ours} in {workers[0].language}"
                )
        for (call, of), key in zip(SPELLINGS, keys[len(CALLS) :]):
            if key != keys[of]:
                problems.append(f"{worker.language}: {call} is {key}, not {keys[of]}")
        if len({json.dumps(key, sort_keys=True) for key in keys}) != len(CALLS):
            problems.append(f"{worker.language}: two calls share an entry")
        print(f"keys {worker.language}: {len(keys)} calls, {len(CALLS)} entries")
    if problems:
        raise Broken("\n  ".join(["keys differ", *problems[:10]]))


def shared_values(workers: list[Worker]) -> None:
    """The value that one language stores for a call is that of the same call in all."""
    problems = []
    for writer in workers:
        values = values_of(writer.language)
        stored = writer.ask(do="write", calls=CALLS, values=values)
        if stored != [True] * len(CALLS):
            problems.append(f"{writer.language}: not all is stored: {stored}")
        for reader, found in zip(workers, ask_all(workers, do="read", calls=CALLS)):
            for call, value, read in zip(CALLS, values, found):
                differs = difference(value, read["value"])
                if read["outcome"] != "HIT" or differs is not None:
                    problems.append(
                        f"{reader.language} reads what {writer.language} wrote for {call}: "
                        f"{read['outcome']} {read.get('error') or ''}, {differs}"
                    )
        print(f"values {writer.language}: {len(CALLS)} written, read by {len(workers)} languages")
    if problems:
        raise Broken("\n  ".join(["values differ", *problems[:10]]))


def stampedes(workers: list[Worker]) -> None:
    """All callers of all languages need one key at once: one loader runs."""
    for leader, rest in others(workers):
        one_stampede(workers, leader, rest)
    one_stampede(workers, None, workers)


def one_stampede(workers: list[Worker], leader: Worker | None, rest: list[Worker]) -> None:
    """The others call once the loader of the leader runs; without a leader all call at once."""
    command = {"do": "stampede", "key": f"stampede-{uuid.uuid4().hex}", "callers": CALLERS}
    command["seconds"] = LOADER_SECONDS
    if leader is not None:
        leader.command(**command, lead=True)
        if leader.answer() != "loading":
            raise Broken(f"{leader.language}: its loader does not run")
    for worker in rest:
        worker.command(**command, lead=False)
    answers = {worker.language: worker.answer() for worker in workers}
    loads = {language: facts["loads"] for language, facts in answers.items() if facts["loads"]}
    values = {value for facts in answers.values() for value in facts["values"]}
    wrong = [problem for facts in answers.values() for problem in facts["wrong"]]
    slowest = {language: facts["slowest"] for language, facts in answers.items()}
    print(
        f"stampede led by {leader.language if leader else 'any'}: "
        f"{sum(facts['answers'] for facts in answers.values())} calls, computations {loads}, "
        "slowest call " + ", ".join(f"{name} {took:.2f} s" for name, took in slowest.items())
    )
    if wrong or any(facts["answers"] != CALLERS for facts in answers.values()):
        raise Broken(f"computations {loads}; calls without the value of the cache: {wrong[:3]}")
    if sum(loads.values()) != 1 or len(values) != 1:
        raise Broken(f"computations {loads}, values {values}")
    if leader is not None and leader.language not in loads:
        raise Broken(f"{leader.language} does not lead: {loads}")
    if max(slowest.values()) > SLOWEST_CALL:
        raise Broken(f"a call took {max(slowest.values()):.1f} s")


def near_caches(workers: list[Worker]) -> None:
    """A change in one language is seen by the near caches of the others within the bound."""
    for writer, rest in others(workers):
        largest: dict[str, float] = {}
        reads = 0
        for kind in CHANGES:
            for reader, facts, outdated in one_change(writer, rest, kind):
                reads += facts["kept"]
                largest[reader.language] = max(largest.get(reader.language, 0.0), outdated)
        print(
            f"near caches after {len(CHANGES)} changes by {writer.language}: "
            f"{reads} outdated reads at most "
            + ", ".join(f"{1000 * each:.0f} ms ({name})" for name, each in largest.items())
            + " after the answer"
        )
        if max(largest.values()) > NEAR_BOUND:
            raise Broken(f"a near cache was outdated for {max(largest.values()):.2f} s: {largest}")


def one_change(
    writer: Worker, rest: list[Worker], kind: str
) -> Iterator[tuple[Worker, dict[str, Any], float]]:
    """For each reader what it saw, and the seconds for which it read the former value."""
    key = f"near-{uuid.uuid4().hex}"
    command = {"do": "change", "key": key, "tag": f"of-{key}"}
    old, new = f"{key} old", f"{key} new" if kind == "set" else None
    if not writer.ask(**command, kind="set", value=old)["done"]:
        raise Broken(f"{writer.language}: the value is not stored")
    follow(rest, key=key, old=old, new=new, gone=GONE)
    changed = writer.ask(**command, kind=kind, value=new)
    if not changed["done"]:
        raise Broken(f"{writer.language}: {kind} is not done: {changed}")
    if changed["value"] != new or changed["found"] != (new is not None):
        raise Broken(f"{writer.language}: its own near cache has not seen {kind}: {changed}")
    for reader in rest:
        facts = reader.answer()
        if facts["wrong"]:
            raise Broken(f"{kind} by {writer.language}: {reader.language}: {facts['wrong']}")
        yield reader, facts, max(0.0, facts["outdated_at"] - changed["at"])


def follow(readers: list[Worker], **arguments: Any) -> None:
    """The readers begin to follow an entry, which their near caches have."""
    for reader, answer in zip(readers, ask_all(readers, do="follow", **arguments)):
        if answer != "following":
            raise Broken(f"{reader.language}: the near cache does not keep the value: {answer}")


def silent_replicas(workers: list[Worker], replicas: list[LarderServer]) -> None:
    """A change that a silent replica cannot announce is seen by those that follow that replica."""
    largest = {worker.language: 0.0 for worker in workers}
    for number, silent in enumerate(replicas):
        entries = replicas[number - 1].client(preset="local").namespace("polyglot")
        key = f"silent-{uuid.uuid4().hex}"
        entries.set(key, "old", ttl=60)
        follow(workers, key=key, old="old", new=None, gone=GONE_SILENT)
        silent.pause()
        try:
            entries.delete(key)
            deleted_at = time.time()
            answers = [worker.answer() for worker in workers]
        finally:
            silent.resume()
        for worker, facts in zip(workers, answers):
            if facts["wrong"]:
                raise Broken(f"{worker.language}, a silent replica: {facts['wrong']}")
            outdated = facts["outdated_at"] - deleted_at
            largest[worker.language] = max(largest[worker.language], outdated)
    for language, seconds in largest.items():
        print(f"silent replicas {language}: the near cache is outdated for {seconds:.2f} s")
    if max(largest.values()) > SILENT_BOUND:
        raise Broken(f"a near cache does not notice that its replica is silent: {largest}")


def faults(workers: list[Worker], replicas: list[LarderServer], service: Service) -> None:
    """Restarts the replicas one after the other, and loses the primary of Redis, under load."""
    ask_all(workers, do="load", **UNDER_LOAD)
    answers_really(workers, "before the faults")
    began = time.monotonic()
    for replica in replicas:
        replica.stop()
        is_used(workers)
        replica.start()
        is_used(workers)
    restarted = ask_all(workers, do="counts")
    print(f"{REPLICAS} replicas restarted within {time.monotonic() - began:.1f} s")
    answers_really(workers, "after the restarts")
    before = ask_all(workers, do="counts")
    took = service.fail_over()
    promoted = time.monotonic()
    answers_really(workers, "after the failover")
    print(
        f"Redis failed over within {took:.1f} s, "
        f"all answer really {time.monotonic() - promoted:.1f} s after it"
    )
    problems = []
    for worker, *facts in zip(workers, restarted, before, ask_all(workers, do="end")):
        problems += check(worker, *facts)
    if problems:
        raise Broken("\n  ".join(["under load", *problems]))


def check(
    worker: Worker, restarted: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> list[str]:
    """Prints what a worker saw under load. Returns what it should not have seen."""
    name = worker.language
    print(
        f"faults {name}: {sum(after['calls'].values())} calls, {after['hits']} values read "
        f"({after['near']} near), "
        f"without the cache {restarted['degraded']} during the restarts and "
        f"{after['degraded'] - before['degraded']} during the failover, "
        f"{after['refused']} deletes refused, "
        f"longest {after['longest']:.2f} s ({after['slowest']}), "
        f"{len(after['raised'])} raised, {len(after['wrong'])} wrong"
    )
    problems = []
    if after["raised"]:
        problems.append(f"{name}: raised {after['raised'][:3]}")
    if after["wrong"]:
        problems.append(f"{name}: wrong {after['wrong'][:3]}")
    if after["longest"] > LONGEST_CALL:
        problems.append(f"{name}: {after['slowest']} took {after['longest']:.1f} s")
    if len(after["calls"]) < 6 or min(after["calls"].values()) == 0:
        problems.append(f"{name}: too little was done: {after['calls']}")
    return problems


def is_used(workers: list[Worker]) -> None:
    """Waits until each worker has made some more calls."""
    begin = [sum(facts["calls"].values()) for facts in ask_all(workers, do="counts")]

    def made() -> bool:
        answers = ask_all(workers, do="counts")
        counts = [sum(facts["calls"].values()) for facts in answers]
        return all(now >= then + CALLS_PER_FAULT for then, now in zip(begin, counts))

    until(made, "calls of all languages go on", RECOVERY)


def answers_really(workers: list[Worker], when: str) -> None:
    """Waits until each worker makes many calls in a row, all of them with the cache."""
    before = ask_all(workers, do="counts")

    def without_degraded() -> bool:
        nonlocal before
        now = ask_all(workers, do="counts")
        if any(then["degraded"] != after["degraded"] for then, after in zip(before, now)):
            before = now
        return all(
            after[name] >= then[name] + count
            for then, after in zip(before, now)
            for name, count in READ_AGAIN.items()
        )

    until(without_degraded, f"all languages answer with the cache {when}", RECOVERY)


if __name__ == "__main__":
    verdict("polyglot", main)
