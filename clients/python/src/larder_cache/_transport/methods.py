"""The methods of the service, and which of them may be repeated."""

from __future__ import annotations

from typing import NamedTuple


class Method(NamedTuple):
    """A method of CacheService. `repeatable`: it can be retried if it has no condition."""

    name: str
    repeatable: bool = True
    streams: bool = False


GET = Method("Get")
SET = Method("Set")
DELETE = Method("Delete")
INVALIDATE_NAMESPACE = Method("InvalidateNamespace")
INVALIDATE = Method("Invalidate")
STATS = Method("Stats")
GET_OR_FETCH = Method("GetOrFetch")
BATCH_GET_OR_FETCH = Method("BatchGetOrFetch", streams=True)
RENEW = Method("Renew")
ABANDON = Method("Abandon")
BATCH_GET = Method("BatchGet", streams=True)
BATCH_SET = Method("BatchSet")
BATCH_DELETE = Method("BatchDelete")
TOUCH = Method("Touch")
INCREMENT = Method("Increment", repeatable=False)
PATCH = Method("Patch", repeatable=False)
LIST_KEYS = Method("ListKeys")
COUNT_KEYS = Method("CountKeys")
WATCH = Method("Watch", repeatable=False, streams=True)
