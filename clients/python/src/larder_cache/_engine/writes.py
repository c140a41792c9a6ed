"""Writes: set, delete, touch, increment, patch, and their batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from larder_cache._engine.arguments import (
    check_hold_off,
    check_json_patch,
    check_ttl,
    check_version,
)
from larder_cache._engine.chunks import BATCH, chunks
from larder_cache._engine.handle import Handle
from larder_cache._engine.reads import key_refs, unique
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport import methods
from larder_cache.codecs import JsonCodec
from larder_cache.durations import Duration, Forever, to_seconds
from larder_cache.errors import EncodeError, InvalidArgument, LarderError
from larder_cache.names import encode_key, encode_params, split_key
from larder_cache.results import (
    Deleted,
    Incremented,
    NotStored,
    Patched,
    Stored,
    Touched,
)
from larder_cache.typed import to_jsonable

_REASONS = {
    pb.SET_RESULT_CONDITION_NOT_MET: "CONDITION_NOT_MET",
    pb.SET_RESULT_LEASE_LOST: "LEASE_LOST",
    pb.SET_RESULT_INVALIDATED: "INVALIDATED",
    pb.SET_RESULT_SUPERSEDED: "SUPERSEDED",
    pb.SET_RESULT_NOT_STORED: "NOT_STORED",
}
_PATCHES = JsonCodec(default=to_jsonable)


def stored_of(answer: pb.SetResponse) -> Stored | NotStored:
    """The result of a write of the wire."""
    if answer.result == pb.SET_RESULT_STORED:
        return Stored(answer.version, to_seconds(answer.ttl))
    if answer.degraded:
        return NotStored("DEGRADED", True)
    error = LarderError(answer.cause, code="RESOURCE_EXHAUSTED") if answer.cause else None
    return NotStored(_REASONS.get(answer.result, "NOT_STORED"), False, error)


def wrote(handle: Handle, key: str | None) -> None:
    """After a change, also one that may not have been applied: reads of now are outdated."""
    handle.engine.io.forget(handle.name, key)
    hub = handle.engine.near_hub
    if hub is not None:
        hub.wrote(handle.name, key)


async def set(
    handle: Handle,
    key: str,
    value: Any,
    ttl: Duration | Forever | None,
    tags: Any,
    params: Mapping[str, str] | None,
    if_absent: bool,
    if_present: bool,
    if_version: str | None,
) -> Stored | NotStored:
    """Stores one value."""
    conditional = if_absent or if_present or if_version is not None
    if conditional and if_absent + if_present + (if_version is not None) > 1:
        raise InvalidArgument("if_absent, if_present and if_version exclude each other")
    sent = encode_key(key)
    duration = handle.ttl_for(ttl)
    encoded = handle.encode(value)
    all_tags = handle.tags_for(tags)
    sent_params = encode_params(params) if params else None
    version = "" if if_version is None else check_version(if_version)
    if duration is False:
        return await _expired(handle, key, params, if_absent, if_version)
    request = pb.SetRequest(
        namespace=handle.name,
        key=sent,
        value=encoded,
        ttl=duration,  # type: ignore[arg-type]
        tags=all_tags,
        params=sent_params,
    )
    if conditional:
        if if_absent:
            request.if_absent = True
        elif if_present:
            request.if_present = True
        else:
            request.if_version = version
    try:
        answer = await handle.engine.rpc(
            methods.SET, request, handle.timeout, handle.counters, repeat=not conditional
        )
    except LarderError as error:
        if handle.opened(error):
            return NotStored("UNAVAILABLE", True, error)
        raise
    finally:
        wrote(handle, sent)
    return stored_of(answer)


async def _expired(
    handle: Handle,
    key: str,
    params: Mapping[str, str] | None,
    if_absent: bool,
    if_version: str | None,
) -> NotStored:
    # With if_absent there is no fresh entry to delete; with if_present it is the same as without.
    if not if_absent:
        try:
            await delete(handle, key, params, if_version, None, False)
        except LarderError as error:
            if not handle.opened(error):
                raise
            return NotStored("UNAVAILABLE", True, error)
    return NotStored("EXPIRED")


async def set_many(
    handle: Handle,
    items: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
    ttl: Duration | Forever | None,
    tags: Any,
) -> dict[Any, Stored | NotStored]:
    """Stores many values, 1,000 per call or less if they are large."""
    pairs = _pairs(items)
    results: dict[Any, Stored | NotStored] = {}
    duration = handle.ttl_for(ttl)
    all_tags = handle.tags_for(tags)
    if not pairs:
        return results
    if duration is False:
        for value in pairs.values():
            handle.encode(value)
        try:
            await delete_many(handle, pairs)
        except LarderError as error:
            if not handle.opened(error):
                raise
            return {key: NotStored("UNAVAILABLE", True, error) for key in pairs}
        return {key: NotStored("EXPIRED") for key in pairs}
    requests = []
    for key, value in pairs.items():
        sent, params = split_key(key)
        requests.append(
            (
                key,
                pb.SetRequest(
                    namespace=handle.name,
                    key=sent,
                    params=params,
                    value=handle.encode(value),
                    ttl=duration,  # type: ignore[arg-type]
                    tags=all_tags,
                ),
            )
        )
    for chunk in chunks(requests, lambda pair: pair[1].ByteSize()):
        batch = pb.BatchSetRequest(items=[request for _, request in chunk])
        try:
            answer = await handle.engine.rpc(
                methods.BATCH_SET, batch, handle.timeout, handle.counters
            )
        except LarderError as error:
            if not handle.opened(error):
                raise
            results.update((key, NotStored("UNAVAILABLE", True, error)) for key, _ in chunk)
            continue
        finally:
            for _, request in chunk:
                wrote(handle, request.key)
        for (key, _), result in zip(chunk, answer.results):
            results[key] = stored_of(result)
    return results


async def delete(
    handle: Handle,
    key: str,
    params: Mapping[str, str] | None,
    if_version: str | None,
    hold_off: Duration | None,
    return_value: bool,
    type: Any = None,
) -> Deleted:
    """Removes one entry. Raises also at an outage."""
    sent = encode_key(key)
    request = pb.DeleteRequest(namespace=handle.name, key=sent, return_value=return_value)
    if params:
        request.params.update(encode_params(params))
    if if_version is not None:
        request.if_version = check_version(if_version)
    if hold_off is not None:
        request.hold_off.CopyFrom(check_hold_off(hold_off))
    try:
        answer = await handle.engine.rpc(
            methods.DELETE,
            request,
            handle.timeout,
            handle.counters,
            repeat=if_version is None and not return_value,
            always=True,
        )
    except LarderError:
        handle.counters.errors += 1
        raise
    finally:
        wrote(handle, sent)
    removed = None
    if answer.HasField("removed"):
        removed = handle.result(handle.codec_for(type), answer.removed)
    queued = answer.durability == pb.DURABILITY_QUEUED
    return Deleted(answer.existed, answer.deleted, removed, queued)


async def delete_many(handle: Handle, keys: Iterable[Any]) -> dict[Any, Deleted]:
    """Removes many entries, 1,000 per call. Raises also at an outage."""
    asked = unique(keys)
    refs = key_refs(handle, asked)
    results: dict[Any, Deleted] = {}
    for start in range(0, len(asked), BATCH):
        chunk = asked[start : start + BATCH]
        request = pb.BatchDeleteRequest(keys=refs[start : start + BATCH])
        try:
            answer = await handle.engine.rpc(
                methods.BATCH_DELETE, request, handle.timeout, handle.counters, always=True
            )
        except LarderError:
            handle.counters.errors += 1
            raise
        finally:
            for ref in request.keys:
                wrote(handle, ref.key)
        for key, existed, deleted, durability in zip(
            chunk, answer.existed, answer.deleted, answer.durabilities
        ):
            queued = durability == pb.DURABILITY_QUEUED
            results[key] = Deleted(existed, deleted, None, queued)
    return results


async def touch(
    handle: Handle, key: str, ttl: Duration | Forever | None, params: Mapping[str, str] | None
) -> Touched:
    """Gives a fresh entry a new TTL."""
    sent = encode_key(key)
    request = pb.TouchRequest(
        namespace=handle.name,
        key=sent,
        ttl=check_ttl(handle.ttl_for(ttl)),
        params=encode_params(params) if params else None,
    )
    try:
        answer = await handle.engine.rpc(methods.TOUCH, request, handle.timeout, handle.counters)
    except LarderError as error:
        if handle.opened(error):
            return Touched(False, 0.0, True, error)
        raise
    finally:
        wrote(handle, sent)
    return Touched(answer.found, to_seconds(answer.ttl), answer.degraded)


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not -(2**63) <= value < 2**63:
        raise InvalidArgument(f"{name} must fit in 64 bits, not {value!r}")
    return value


async def increment(
    handle: Handle,
    key: str,
    delta: int,
    initial: int,
    ttl: Duration | Forever | None,
    if_present: bool,
    params: Mapping[str, str] | None,
) -> Incremented:
    """Adds to a counter. Raises also at an outage."""
    sent = encode_key(key)
    request = pb.IncrementRequest(
        namespace=handle.name,
        key=sent,
        delta=_integer(delta, "delta"),
        initial=_integer(initial, "initial"),
        ttl=check_ttl(handle.ttl_for(ttl)),
        if_present=if_present,
    )
    if params:
        request.params.update(encode_params(params))
    answer = await _change(handle, methods.INCREMENT, request, sent)
    if answer.missing:
        return Incremented(None)
    return Incremented(answer.value, answer.version, to_seconds(answer.ttl_remaining))


async def patch(
    handle: Handle,
    key: str,
    merge: Any,
    json_patch: Any,
    if_version: str | None,
    ttl: Duration | Forever | None,
    keep_ttl: bool,
    params: Mapping[str, str] | None,
) -> Patched:
    """Changes a part of a JSON value. Raises also at an outage."""
    if (merge is None) == (json_patch is None):
        raise InvalidArgument("exactly one of merge and json_patch must be given")
    if keep_ttl and ttl is not None:
        raise InvalidArgument("ttl and keep_ttl exclude each other")
    sent = encode_key(key)
    request = pb.PatchRequest(namespace=handle.name, key=sent)
    if merge is not None:
        request.merge_patch = _document(merge, "merge")
    else:
        check_json_patch(json_patch)
        request.json_patch = _document(json_patch, "json_patch")
    if if_version is not None:
        request.if_version = check_version(if_version)
    if keep_ttl:
        request.keep = True
    else:
        duration = check_ttl(handle.ttl_for(ttl))
        if duration is not None:
            request.ttl.CopyFrom(duration)
    if params:
        request.params.update(encode_params(params))
    answer = await _change(handle, methods.PATCH, request, sent)
    result = pb.PatchResult.Name(answer.result).removeprefix("PATCH_RESULT_")
    return Patched(result, answer.version, to_seconds(answer.ttl))


def _document(patch: Any, name: str) -> str:
    kind, content = _PATCHES.encode(patch)
    if kind == "data":
        raise EncodeError(f"{name} must be JSON, not bytes")
    return json.dumps(content) if kind == "text" else str(content)


def _pairs(items: Any) -> dict[Any, Any]:
    if isinstance(items, Mapping):
        return dict(items)
    try:
        return {key: value for key, value in items}
    except (TypeError, ValueError):
        raise TypeError("items must be a mapping, or pairs of a key and a value") from None


async def _change(handle: Handle, method: methods.Method, request: Any, sent: str) -> Any:
    try:
        return await handle.engine.rpc(
            method, request, handle.timeout, handle.counters, repeat=False, always=True
        )
    except LarderError:
        handle.counters.errors += 1
        raise
    finally:
        wrote(handle, sent)
