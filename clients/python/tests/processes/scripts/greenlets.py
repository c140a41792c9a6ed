"""A blocking client in 50 greenlets of gevent, with everything patched."""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402

import gevent  # noqa: E402

from larder_cache import Client  # noqa: E402

GREENLETS = 50
client = Client(preset="local")
entries = client.namespace("greenlets")
near = client.namespace("greenlets-near", near_cache=True)
run = uuid.uuid4().hex
loads = 0


def slowly() -> str:
    """A loader that waits, and lets other greenlets run."""
    global loads
    loads += 1
    time.sleep(0.3)
    return "value"


def work(number: int) -> None:
    """Calls of all kinds."""
    key = f"{run}-{number}"
    assert entries.set(key, number)
    assert entries.get(key).value == number
    assert entries.get_or_fetch(f"{run}-shared", slowly).value == "value"
    own = entries.get_or_fetch(f"{key}-own", lambda: time.sleep(0.3) or number)
    assert own.value == number, own
    assert len(entries.get_many([key, f"{key}-own"])) == 2
    assert near.set(key, number) and near.get(key).value == number


def main() -> None:
    """Prints how long it took, and how much another greenlet ran meanwhile."""
    ticks = 0
    longest = 0.0

    def ticking() -> None:
        nonlocal ticks, longest
        last = time.monotonic()
        while True:
            time.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            ticks += 1

    ticker = gevent.spawn(ticking)
    began = time.monotonic()
    jobs = [gevent.spawn(work, number) for number in range(GREENLETS)]
    gevent.joinall(jobs, raise_error=True)
    took = time.monotonic() - began
    ticker.kill()
    client.close()
    names = [each.name for each in threading.enumerate() if each.name.startswith("larder")]
    facts = {"took": took, "ticks": ticks, "longest": longest, "loads": loads, "threads": names}
    print(json.dumps(facts))


main()
