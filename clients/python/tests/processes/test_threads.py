"""32 threads with one client."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from larder_cache import Client

THREADS = 32


def larder_threads() -> list[str]:
    """The threads of clients that run; `larder-log` reads the log of the server."""
    return [
        each.name
        for each in threading.enumerate()
        if each.name.startswith("larder") and each.name != "larder-log"
    ]


def test_many_threads(target: str) -> None:
    run = uuid.uuid4().hex
    loads: Counter[str] = Counter()
    lock = threading.Lock()
    begin = threading.Barrier(THREADS)

    with Client(target, preset="local") as client:
        entries = client.namespace("threads")
        near = client.namespace("threads-near", near_cache=True)

        def load(key: str) -> str:
            with lock:
                loads[key] += 1
            time.sleep(0.02)
            return key

        def work(number: int) -> int:
            begin.wait()
            for turn in range(20):
                shared = f"{run}-{turn}"
                result = entries.get_or_fetch(shared, lambda shared=shared: load(shared))
                assert result.value == shared and result.error is None
                own = f"{run}-{number}-{turn}"
                assert entries.set(own, own)
                assert near.set(own, turn)
                assert entries.get(own).value == own
                assert near.get(own).value == turn
                found = entries.get_many([own, shared, f"{run}-none"])
                assert [each.value for each in found.values()] == [own, shared, None]
                entries.increment(f"{run}-count")
            return number

        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(work, range(THREADS))) == list(range(THREADS))
        assert loads == Counter({f"{run}-{turn}": 1 for turn in range(20)})
        counted = entries.increment(f"{run}-count", 0).value
        assert int(counted or 0) == THREADS * 20
        assert client.counters()["fail_open"] == 0
    assert larder_threads() == []
