"""45 s without a server: every read is answered, fast, and soon after the end all is well."""

from __future__ import annotations

import os
import time
from typing import Any

from larder_cache.testing import LarderServer

from processes import Broken, Worker, verdict

OUTAGE = float(os.environ.get("OUTAGE", "45"))
KINDS = ["threads", "asyncio", "node"]
# A few calls wait for their deadline before the breaker opens, and then one probe at a time.
P99 = 0.05
# The call's deadline (0.5 s), and the time to connect (1 s) of the first; the machine is busy.
LONGEST = 4.0
BACK_WITHIN = 3.0


def main() -> None:
    """Prints a line per kind of client."""
    with LarderServer() as server:
        workers = [Worker(kind, "outage", server.target, {"callers": 8}) for kind in KINDS]
        try:
            for worker in workers:
                worker.answer()
            time.sleep(3)
            for worker in workers:
                worker.send("down")
            # Reads that began before the command are over, or are answered without the server.
            time.sleep(0.5)
            server.stop()
            time.sleep(OUTAGE)
            server.start()
            for worker in workers:
                worker.send("up")
            time.sleep(BACK_WITHIN + 3)
            for worker in workers:
                worker.send("end")
            answers = [(worker, worker.answer()) for worker in workers]
            problems = [problem for each in answers for problem in check(*each)]
            for worker in workers:
                if worker.end() != 0:
                    problems.append(f"{worker.kind}: {worker.errors}")
        finally:
            for worker in workers:
                worker.kill()
    if problems:
        raise Broken("; ".join(problems))


def check(worker: Worker, facts: dict[str, Any]) -> list[str]:
    """Prints what a worker saw. Returns what it should not have seen."""
    name = worker.kind
    back = "never" if facts["back"] is None else f"{facts['back']:.2f} s"
    print(
        f"{worker.language} ({name}): {facts['down']} reads in {OUTAGE:g} s without a server, "
        f"p50 {facts['p50'] * 1000:.2f} ms, p99 {facts['p99'] * 1000:.2f} ms, "
        f"longest {facts['longest']:.2f} s; first real answer after {back}; "
        f"{facts['after']} reads afterwards"
    )
    problems = []
    if facts["raised"]:
        problems.append(f"{name}: reads raised {facts['raised'][:3]}")
    if facts["wrong"]:
        problems.append(f"{name}: wrong {facts['wrong'][:3]}")
    if facts["down"] < 20 * OUTAGE:
        problems.append(f"{name}: only {facts['down']} reads while the server was away")
    if facts["p99"] > P99:
        problems.append(f"{name}: p99 is {facts['p99']:.3f} s")
    if facts["longest"] > LONGEST:
        problems.append(f"{name}: a read took {facts['longest']:.1f} s")
    if facts["back"] is None or facts["back"] > BACK_WITHIN:
        problems.append(f"{name}: the first real answer came after {back}")
    return problems


if __name__ == "__main__":
    verdict("outage", main)
