"""All kinds of calls in both languages while replicas and Redis go and come: see README.md."""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from typing import Any

from larder_cache.testing import LarderServer

from processes import Broken, Redis, Worker, verdict

KINDS = ["threads", "asyncio", "node"]
REPLICAS = 3
CONFIG = """
[defaults]
ttl = "60s"
ttl_jitter = 0.0
stale_while_revalidate = "5s"
lease_ttl = "3s"
"""
# Growth of the resident set of a client that is no leak. In a short run, V8 still sizes its heap.
SHARE, MIB, MIB_SHORT = 1.15, 24.0, 64.0
SHORT = 300.0
LONGEST_CALL = 15.0


def seconds(text: str) -> float:
    """`90`, `60s`, `10m` or `1h`."""
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        if text[-1:] in units:
            return float(text[:-1]) * units[text[-1]]
        return float(text)
    except ValueError:
        raise SystemExit(f"TIME must be such as 60s or 10m, not {text!r}") from None


class Chaos:
    """Restarts the replicas one after the other, and kills Redis now and then."""

    def __init__(self, redis: Redis, replicas: list[LarderServer]) -> None:
        self._redis = redis
        self._replicas = replicas
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.restarts = 0
        self.kills = 0
        self.error: BaseException | None = None

    def _run(self) -> None:
        try:
            while not self._end.wait(random.uniform(3, 5)):
                replica = self._replicas[self.restarts % len(self._replicas)]
                replica.stop()
                self._end.wait(random.uniform(0.2, 1.5))
                replica.start()
                self.restarts += 1
                if self.restarts % 4 == 0:
                    self._redis.kill()
                    self._end.wait(random.uniform(1, 4))
                    self._redis.start()
                    self.kills += 1
        except BaseException as error:  # noqa: BLE001  (raised by `stop`)
            self.error = error

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it. All servers run again."""
        self._end.set()
        self._thread.join()
        if self.error is not None:
            raise self.error


def main() -> None:
    """Prints a line per client."""
    length = seconds(sys.argv[1] if len(sys.argv) > 1 else "10m")
    with Redis() as redis:
        replicas = [LarderServer(CONFIG, store=redis.url) for _ in range(REPLICAS)]
        workers: list[Worker] = []
        try:
            for replica in replicas:
                replica.start()
            target = ",".join(replica.target for replica in replicas)
            workers = [Worker(kind, "soak", target, {"callers": 12}) for kind in KINDS]
            for worker in workers:
                worker.answer()
            chaos = Chaos(redis, replicas)
            chaos.start()
            samples = watch(workers, length)
            chaos.stop()
            print(f"{chaos.restarts} restarts of replicas, {chaos.kills} kills of Redis")
            for worker in workers:
                worker.send("end")
            problems = []
            for worker, memory in zip(workers, samples):
                problems += check(worker, worker.answer(120), memory, length)
                if worker.end() != 0:
                    problems.append(f"{worker.kind}: {worker.errors}")
        finally:
            for worker in workers:
                worker.kill()
            for replica in replicas:
                replica.close()
    if problems:
        raise Broken("\n  ".join(["", *problems]))


def watch(workers: list[Worker], length: float) -> list[list[float]]:
    """Memory in MiB, each second, after the warm-up."""
    began = time.monotonic()
    warm = max(10.0, length / 10)
    samples: list[list[float]] = [[] for _ in workers]
    while (passed := time.monotonic() - began) < length:
        time.sleep(1)
        for worker, memory in zip(workers, samples):
            if worker.process.poll() is not None:
                raise Broken(f"{worker.kind} ended\n{worker.errors}")
            if passed > warm:
                memory.append(worker.memory())
    return samples


def check(worker: Worker, facts: dict[str, Any], memory: list[float], length: float) -> list[str]:
    """Prints the line of a worker. Returns the promises that it saw broken."""
    third = max(1, len(memory) // 3)
    first, last = statistics.median(memory[:third]), statistics.median(memory[-third:])
    name = worker.kind
    calls = sum(facts["calls"].values())
    print(
        f"{worker.language} ({name}): {calls} calls ({calls / length:.0f}/s), "
        f"{facts['hits']} values read, {facts['degraded']} without the cache {facts['causes']}, "
        f"{facts['refused']} writes refused, longest {facts['longest']:.2f} s, "
        f"memory {first:.0f} -> {last:.0f} MiB, left after close: {facts['left'] or 'nothing'}"
    )
    problems = []
    if facts["raised"]:
        problems.append(f"{name}: raised {facts['raised'][:5]}")
    if facts["wrong"]:
        problems.append(f"{name}: values that were never computed {facts['wrong'][:5]}")
    if facts["left"]:
        problems.append(f"{name}: left after close {facts['left']}")
    if facts["longest"] > LONGEST_CALL:
        problems.append(f"{name}: {facts['slowest']} took {facts['longest']:.1f} s")
    bound = MIB_SHORT if length < SHORT else MIB
    if last > first * SHARE and last > first + bound:
        problems.append(f"{name}: memory grew from {first:.0f} to {last:.0f} MiB")
    idle = sorted(call for call, count in facts["calls"].items() if count == 0)
    if idle or facts["hits"] < 100 * length / 60:
        problems.append(f"{name}: too little was done: {idle}, {facts['hits']} values read")
    return problems


if __name__ == "__main__":
    verdict("soak", main)
