"""Runs the example applications under load: `python -m driver --larder PATH`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import tables
from .figures import Window
from .fleet import Settings
from .load import Answer
from .run import FULL, QUICK, Run

#: The least share of reads without a query, of the documents' targets.
LEAST_HIT_RATE = 0.8


def main() -> int:
    """The exit code: 0 if no user saw an error or a stale answer, and the hit rate is reached."""
    options = _options()
    plan = QUICK if options.quick else FULL
    folder = Path(tempfile.mkdtemp(prefix="larder-apps."))
    scale = options.delay_scale or (0.1 if options.quick else 1.0)
    settings = Settings(folder, options.larder.resolve(), scale, options.replicas)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(settings, plan)
    well = False
    try:
        well = asyncio.run(_run(run))
    finally:
        run.stop()
        if well:
            shutil.rmtree(folder)
        else:
            print(f"\nThe logs of all processes are in {folder}", file=sys.stderr)
    return 0 if well else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="driver", description=__doc__)
    parser.add_argument("--larder", type=Path, required=True, help="the server's binary")
    parser.add_argument("--quick", action="store_true", help="under a minute, with short queries")
    parser.add_argument("--replicas", type=int, default=2, help="replicas of Larder (2)")
    parser.add_argument("--delay-scale", type=float, help="factor of the delays of queries (1)")
    options = parser.parse_args()
    if not options.larder.is_file():
        parser.error(f"--larder: {options.larder} does not exist")
    if options.replicas < 2:
        parser.error("--replicas: one of them is killed, so there must be 2 or more")
    if options.delay_scale is not None and options.delay_scale <= 0:
        parser.error("--delay-scale must be above 0")
    return options


async def _run(run: Run) -> bool:
    began = time.monotonic()
    faults: list[str] = []
    run.prepare()
    print(f"Redis, {run.settings.replicas} replicas of Larder, FastAPI, Flask and Express start.")
    await run.fleet.start()
    before = await run.before()
    async with run.shop(cache=True) as shop:
        faults += await run.sharing(shop)
        shop.answers.clear()
        async with run.load(shop):
            steady = await run.steady()
            _show_steady(run, before.answers, shop.answers, steady)
            redis = await run.outage(run.fleet.redis, run.plan.redis_away)
            print("\n## Redis is killed\n")
            print(tables.seconds(shop.answers, redis.window, redis.events), flush=True)
            replica = await run.outage(run.fleet.replicas[0], run.plan.replica_away)
            print("\n## A replica of Larder is killed\n")
            print(tables.seconds(shop.answers, replica.window, replica.events), flush=True)
        faults += await run.last_look(shop)
    print("\n## All services\n")
    print(tables.services(shop.answers))
    rate = tables.hit_rate(steady.of(shop.answers), run.settings.query_log, steady)
    faults += _faults([*before.answers, *shop.answers])
    if rate < LEAST_HIT_RATE:
        faults.append(f"the hit rate is {rate:.1%}, and must be {LEAST_HIT_RATE:.0%}")
    return _verdict(faults, shop.answers, rate, time.monotonic() - began)


def _show_steady(run: Run, before: list[Answer], answers: list[Answer], window: Window) -> None:
    during = window.of(answers)
    print("\n## Before and after\n")
    print(tables.reads(before, during, run.settings.query_log, window))
    print("\n## Changes\n")
    print(tables.changes(during), flush=True)


def _faults(answers: list[Answer]) -> list[str]:
    return [
        f"{answer.label} by {answer.service}: {answer.error or answer.stale}"
        for answer in answers
        if answer.error is not None or answer.stale is not None
    ]


def _verdict(faults: list[str], answers: list[Answer], rate: float, seconds: float) -> bool:
    errors = sum(answer.error is not None for answer in answers)
    stale = sum(answer.stale is not None for answer in answers)
    print(
        f"\n{len(answers):,} requests in {seconds:.0f} s: {errors} errors, {stale} stale answers; "
        f"hit rate {rate:.1%}"
    )
    for fault in faults[:20]:
        print(f"FAILED {fault}", file=sys.stderr)
    if len(faults) > 20:
        print(f"... and {len(faults) - 20} more", file=sys.stderr)
    return not faults


if __name__ == "__main__":
    sys.exit(main())
