"""The methods of the service, and which of them may be repeated."""

from __future__ import annotations

from typing import Any, NamedTuple


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

_READS = frozenset(
    {GET, BATCH_GET, GET_OR_FETCH, BATCH_GET_OR_FETCH, RENEW, ABANDON, STATS, LIST_KEYS, COUNT_KEYS}
)


def can_be_made_again(method: Method, request: Any) -> bool:
    """Whether a call that a fork has ended can be made again at once.

    A write can have reached the server. One that has no condition has the same effect twice, and a
    fill has none the second time.
    """
    if method is SET:
        return request.WhichOneof("condition") is None
    if method is BATCH_SET:
        return all(item.WhichOneof("condition") is None for item in request.items)
    return method in _READS
