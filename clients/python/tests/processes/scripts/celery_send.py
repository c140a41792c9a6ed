"""Sends tasks to the worker, waits for the results, and prints them."""

from __future__ import annotations

import json
import sys
import uuid

from celery_tasks import square

run = uuid.uuid4().hex
sent = [square.delay(run, number % 5) for number in range(int(sys.argv[1]))]
print(json.dumps([each.get(timeout=60) for each in sent]))
