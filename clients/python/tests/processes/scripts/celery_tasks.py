"""A Celery application whose client is used at import, before the pool of the worker forks."""

from __future__ import annotations

import os
import time

from celery import Celery

from larder_cache import Client

FOLDER = os.environ["CELERY_FOLDER"]
app = Celery(
    "tasks",
    broker_url="filesystem://",
    result_backend=f"file://{FOLDER}/results",
    broker_transport_options={
        "data_folder_in": f"{FOLDER}/queue",
        "data_folder_out": f"{FOLDER}/queue",
        "control_folder": f"{FOLDER}/control",
    },
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_track_started=False,
)
client = Client(preset="local")
entries = client.namespace("celery", near_cache=True)
PARENT = os.getpid()
entries.set(f"parent-{PARENT}", PARENT)
assert entries.get(f"parent-{PARENT}").value == PARENT


def _slowly(number: int) -> int:
    time.sleep(0.05)
    return number * number


@app.task
def square(run: str, number: int) -> dict[str, int]:
    """Computes through the cache: tasks with the same number share one computation."""
    result = entries.get_or_fetch(f"{run}-square-{number}", lambda: _slowly(number))
    runs = entries.increment(f"{run}-runs").value
    return {
        "pid": os.getpid(),
        "imported": PARENT,
        "parent": entries.get(f"parent-{PARENT}").value_or(0),
        "value": result.unwrap(),
        "runs": runs or 0,
    }
