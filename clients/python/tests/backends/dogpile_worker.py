"""A process that uses a region: ``dogpile_worker.py TARGET NAMESPACE hold|create``.

``hold`` acquires the mutex of "key", prints "held", and releases it at the end of its input.
``create`` waits for a line, and prints what the region has under "key"; it appends a line to the
file CREATED if it created the value.
"""

from __future__ import annotations

import os
import sys
import time

import dogpile_plugin
from dogpile.cache import make_region


def main() -> None:
    target, namespace, action = sys.argv[1:]
    dogpile_plugin.register()
    arguments = {"target": target, "namespace": namespace, "secret": "s" * 32, "preset": "local"}
    region = make_region().configure("larder", arguments=arguments)
    if action == "hold":
        mutex = region.backend.get_mutex("key")
        assert mutex.acquire()
        print("held", flush=True)
        sys.stdin.read()
        mutex.release()
        print("released", flush=True)
        return

    def create() -> str:
        with open(os.environ["CREATED"], "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return "value"

    print("ready", flush=True)
    sys.stdin.readline()
    print(region.get_or_create("key", create), flush=True)


if __name__ == "__main__":
    main()
