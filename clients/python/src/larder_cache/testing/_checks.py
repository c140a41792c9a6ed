"""The checks of requests that the server makes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration

from larder_cache._engine.globs import GlobError, matcher
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.durations import to_seconds
from larder_cache.testing._errors import FakeRpcError, invalid

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
BATCH = 1000


def check_namespace(name: str, field: str = "namespace") -> None:
    """A name of a namespace."""
    if not _NAMESPACE.fullmatch(name):
        raise invalid(field, "must match [a-z0-9][a-z0-9._-]{0,63}")


def check_key(key: str) -> None:
    """A key."""
    size = len(key.encode())
    if not size:
        raise invalid("key", "must be set")
    if size > 1024:
        raise invalid("key", f"is {size} bytes long, the limit is 1024", 1024)


def check_params(params: Mapping[str, str]) -> None:
    """Params."""
    if len(params) > 64:
        raise invalid("params", f"has {len(params)} elements, the limit is 64", 64)
    if "" in params:
        raise invalid("params", "must not have an empty name")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in params.items())
    if size > 8192:
        raise invalid("params", f"is {size} bytes long, the limit is 8192", 8192)


def check_entry(request: Any) -> None:
    """Namespace, key and params of a request."""
    check_namespace(request.namespace)
    check_key(request.key)
    check_params(request.params)


def check_tags(tags: Iterable[str], field: str = "tags") -> None:
    """Tags of a value or a target."""
    found = list(tags)
    if len(found) > 32:
        raise invalid(field, f"has {len(found)} elements, the limit is 32", 32)
    for index, tag in enumerate(found):
        if not tag:
            raise invalid(f"{field}[{index}]", "must not be empty")
        if len(tag.encode()) > 128:
            raise invalid(f"{field}[{index}]", "is longer than 128 bytes", 128)


def check_glob(glob: str, field: str) -> None:
    """A pattern."""
    try:
        matcher(glob)
    except GlobError as error:
        raise invalid(field, str(error)) from None


def positive(request: Any, field: str) -> float | None:
    """A duration that is positive if it is set."""
    if not request.HasField(field):
        return None
    number = to_seconds(getattr(request, field))
    if number <= 0:
        raise invalid(field, "must be positive; leave it unset for the namespace's default")
    return number


def optional(request: Any, field: str) -> float | None:
    """A duration that is not negative."""
    if not request.HasField(field):
        return None
    number = to_seconds(getattr(request, field))
    if number < 0:
        raise invalid(field, "must not be negative")
    return number


def check_value(request: pb.SetRequest, limit: int) -> None:
    """A value, which is JSON if it claims to be."""
    kind = request.value.WhichOneof("kind")
    if kind is None:
        raise invalid("value", "must be set, with one of data, text and json")
    content = getattr(request.value, kind)
    size = len(content if isinstance(content, bytes) else content.encode())
    if size > limit:
        raise FakeRpcError(
            "RESOURCE_EXHAUSTED",
            f"value is {size} bytes long, the limit of namespace {request.namespace} is {limit} "
            "(max_value_bytes)",
            "VALUE_TOO_LARGE",
            {"field": "value", "limit": str(limit)},
        )
    if kind == "json":
        parse_json(request.value.json, "value.json")


def parse_json(text: str, field: str) -> Any:
    """JSON without numbers that are not finite."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise invalid(field, f"is not valid JSON: {error}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def check_batch(items: Any, field: str) -> None:
    """The size of a batch."""
    if not len(items):
        raise invalid(field, "must not be empty")
    if len(items) > BATCH:
        raise FakeRpcError(
            "INVALID_ARGUMENT",
            f"{field} has {len(items)} elements, the limit is {BATCH} (limits.max_batch_keys)",
            "BATCH_TOO_LARGE",
            {"field": field, "limit": str(BATCH)},
            field,
        )


def check_token(token: bytes) -> None:
    """The token of a lease."""
    if len(token) != 16:
        raise invalid("lease_token", f"has {len(token)} bytes, expected the 16 of Lease.token")


def to_proto(number: float) -> Duration:
    """A duration of milliseconds."""
    millis = max(0, round(number * 1000))
    return Duration(seconds=millis // 1000, nanos=millis % 1000 * 1_000_000)
