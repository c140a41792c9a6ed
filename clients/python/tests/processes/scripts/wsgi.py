"""A WSGI application whose client is used at import: with --preload, before the workers fork."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from larder_cache import Client

MASTER = os.getpid()
client = Client(preset="local")
entries = client.namespace("wsgi")
near = client.namespace("wsgi-near", near_cache=True)

entries.set(f"master-{MASTER}", MASTER)
near.set("shared", "kept")
assert entries.get(f"master-{MASTER}").value == MASTER
# gevent's threads are greenlets, and those of the master would go on in the workers.
PATCHED = "gevent.monkey" in sys.modules
if not PATCHED:
    assert near.get("shared").value == "kept"


def _slow() -> int:
    _loading.set()
    _forked.wait()
    return MASTER


_loading = threading.Event()
_forked = threading.Event()
if not PATCHED:
    # A computation is under way while the workers are forked: its flight is the master's alone.
    leader = threading.Thread(target=lambda: entries.get_or_fetch(f"slow-{MASTER}", _slow))
    leader.daemon = True
    leader.start()
    _loading.wait()


def pre_fork(server: Any, worker: Any) -> None:
    """The master uses its client before each fork, so also after the forks before."""
    entries.increment(f"forks-{MASTER}")


def when_ready(server: Any) -> None:
    """The master forks only after this."""
    if not PATCHED:
        threading.Timer(1.0, _forked.set).start()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Makes calls of all kinds."""
    pid = os.getpid()
    entries.set(f"worker-{pid}", pid)
    facts = {
        "pid": pid,
        "master": entries.get(f"master-{MASTER}").value,
        "own": entries.get(f"worker-{pid}").value,
        "many": len(entries.get_many([f"worker-{pid}", f"master-{MASTER}"])),
        "fetched": entries.get_or_fetch(f"fetched-{pid}", lambda: pid).value,
        "slow": entries.get_or_fetch(f"slow-{MASTER}", lambda: -1).value,
        "near": near.get("shared").value,
        "near_tier": near.get("shared").tier,
        "forks": entries.get(f"forks-{MASTER}").value,
    }
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(facts).encode()]
