"""1,000 calls of one key at once, in 8 processes of both languages: the loader runs once."""

from __future__ import annotations

import time
import uuid

from larder_cache.testing import LarderServer

from processes import Broken, Redis, Worker, verdict

FLEET = ["threads", "threads", "asyncio", "asyncio", "node", "node", "node", "node"]
CALLS = 125
ROUNDS = 3


def main() -> None:
    """Prints a line per round and language."""
    with (
        Redis() as redis,
        LarderServer(store=redis.url) as first,
        LarderServer(store=redis.url) as second,
    ):
        target = f"{first.target},{second.target}"
        workers = [Worker(kind, "stampede", target, {"calls": CALLS}) for kind in FLEET]
        try:
            for worker in workers:
                worker.answer()
            for number in range(ROUNDS):
                one_round(workers, number)
            for worker in workers:
                worker.send("end")
            for worker in workers:
                if worker.end() != 0:
                    raise Broken(f"{worker.kind}: {worker.errors}")
        finally:
            for worker in workers:
                worker.kill()


def one_round(workers: list[Worker], number: int) -> None:
    """All workers call at once."""
    key = f"stampede-{number}-{uuid.uuid4().hex}"
    began = time.monotonic()
    # Each language leads in turn.
    for worker in workers if number % 2 else reversed(workers):
        worker.send(key)
    answers = [(worker, worker.answer(90)) for worker in workers]
    took = time.monotonic() - began
    for language in ("python", "node"):
        of_it = [facts for worker, facts in answers if worker.language == language]
        print(
            f"round {number} {language}: {CALLS * len(of_it)} calls in {len(of_it)} processes, "
            f"{sum(facts['loads'] for facts in of_it)} computations, "
            f"slowest {max(facts['slowest'] for facts in of_it):.2f} s"
        )
    loads = sum(facts["loads"] for _, facts in answers)
    values = {value for _, facts in answers for value in facts["values"]}
    wrong = [problem for _, facts in answers for problem in facts["wrong"]]
    print(f"round {number}: {loads} computation in all, {took:.2f} s")
    if wrong:
        raise Broken(f"{wrong[:3]}")
    if loads != 1 or len(values) != 1:
        raise Broken(f"{loads} computations, {len(values)} values")


if __name__ == "__main__":
    verdict("stampede", main)
