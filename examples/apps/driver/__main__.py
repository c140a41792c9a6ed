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
from .endpoints import EXPRESS, FASTAPI, FLASK
from .figures import within
from .fleet import Settings
from .load import Answer
from .run import FULL, QUICK, Run
from .window import Window

#: Ports of the services with --serve.
PORTS = {FASTAPI: 8001, FLASK: 8002, EXPRESS: 8003}

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
        run.prepare()
        if options.serve:
            asyncio.run(run.serve(PORTS))
        else:
            well = asyncio.run(asyncio.wait_for(_run(run), plan.limit))
    except KeyboardInterrupt:
        well = options.serve
    except TimeoutError:
        print(f"FAILED the run is not over after {plan.limit:.0f} s", file=sys.stderr)
    except RuntimeError as error:
        print(f"FAILED {error}", file=sys.stderr)
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
    parser.add_argument("--serve", action="store_true", help="only start all, for requests by hand")
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
    began = time.time()
    faults: list[str] = []
    print(f"Redis, {run.settings.replicas} replicas of Larder, FastAPI, Flask and Express start.")
    await run.fleet.start()
    before = await run.before()
    async with run.shop(cache=True) as shop:
        faults += await run.sharing(shop)
        shop.answers.clear()
        async with run.load(shop):
            steady = await run.steady(shop)
            _show_steady(run, before.answers, shop.answers, steady)
            print("\n## As the fleet counts it\n")
            print(tables.namespaces(await run.statistics()), flush=True)
            redis = await run.outage(run.fleet.redis, run.plan.redis_away)
            print("\n## Redis is killed\n")
            print(tables.seconds(shop.answers, redis.window, redis.events), flush=True)
            replica = await run.outage(run.fleet.replicas[0], run.plan.replica_away)
            print("\n## A replica of Larder is killed\n")
            print(tables.seconds(shop.answers, replica.window, replica.events), flush=True)
        faults += await run.last_look(shop)
    print("\n## All services\n")
    print(tables.services(shop.answers, redis.away))
    rate = tables.hit_rate(within(shop.answers, steady), run.settings.query_log, steady)
    answers = [*before.answers, *shop.answers]
    wrong = [a for a in answers if a.fault and not a.is_shared(redis.away)]
    faults += [_fault(answer, began) for answer in wrong]
    if rate < LEAST_HIT_RATE:
        faults.append(f"the hit rate is {rate:.1%}, and must be {LEAST_HIT_RATE:.0%}")
    seconds = time.time() - began
    print(
        f"\n{len(answers):,} requests in {seconds:.0f} s; hit rate {rate:.1%}; "
        f"{len(wrong)} errors or stale answers"
    )
    return _verdict(faults)


def _show_steady(run: Run, before: list[Answer], answers: list[Answer], window: Window) -> None:
    during = within(answers, window)
    print("\n## Before and after\n")
    print(tables.reads(before, during, run.settings.query_log, window))
    print("\n## Changes\n")
    print(tables.changes(during), flush=True)


def _fault(answer: Answer, began: float) -> str:
    return (
        f"{answer.began - began:.1f} s: {answer.label} by {answer.service} "
        f"in {answer.seconds:.3f} s: {answer.fault}"
    )


def _verdict(faults: list[str]) -> bool:
    for fault in faults[:20]:
        print(f"FAILED {fault}", file=sys.stderr)
    if len(faults) > 20:
        print(f"... and {len(faults) - 20} more", file=sys.stderr)
    return not faults


if __name__ == "__main__":
    sys.exit(main())
