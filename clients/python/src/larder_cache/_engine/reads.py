"""Reads: get, get_many, contains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from larder_cache._engine.chunks import BATCH
from larder_cache._engine.handle import HIT, STALE, Handle
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.methods import BATCH_GET, GET
from larder_cache.durations import Duration, to_proto
from larder_cache.errors import LarderError
from larder_cache.names import Key, encode_key, encode_params, split_key
from larder_cache.results import NO_FACTS, Hit, Miss, Result


def positive(value: Duration, name: str) -> Any:
    """The wire form of a duration that must be positive, at least a millisecond."""
    duration = to_proto(value, name)
    if not duration.seconds and not duration.nanos:
        duration.nanos = 1_000_000
    return duration


async def get(
    handle: Handle,
    key: str,
    params: Mapping[str, str] | None,
    max_stale: Duration | None,
    consistent: bool,
    touch: Duration | None,
    type: Any,
) -> Result[Any]:
    """Reads one entry."""
    sent = encode_key(key)
    request = pb.GetRequest(namespace=handle.name, key=sent)
    if params:
        request.params.update(encode_params(params))
    if max_stale is not None:
        request.max_stale.CopyFrom(to_proto(max_stale, "max_stale"))
    if consistent:
        request.consistency = pb.CONSISTENCY_STORE
    if touch is not None:
        request.touch.CopyFrom(positive(touch, "touch"))
    codec = handle.codec if type is None else handle.codec_for(type)
    near = handle.near
    if near is not None and touch is None:
        kept: Result[Any] = await near.get(handle, request, codec, consistent)
        return kept
    return await get_sent(handle, request, codec)


async def get_sent(handle: Handle, request: pb.GetRequest, codec: Any) -> Result[Any]:
    """The result of a request."""
    try:
        answer = await handle.engine.rpc(GET, request, handle.timeout, handle.counters)
    except LarderError as error:
        if handle.opened(error):
            handle.counters.misses += 1
            return Miss(None, NO_FACTS, degraded=True, error=error)
        raise
    return handle.result(codec, answer, answer.degraded)


async def contains(handle: Handle, key: str, params: Mapping[str, str] | None) -> bool:
    """Whether there is a fresh value."""
    request = pb.GetRequest(namespace=handle.name, key=encode_key(key), omit_value=True)
    request.max_stale.SetInParent()
    if params:
        request.params.update(encode_params(params))
    try:
        answer = await handle.engine.rpc(GET, request, handle.timeout, handle.counters)
    except LarderError as error:
        if handle.opened(error):
            return False
        raise
    return bool(answer.outcome == HIT)


def several_keys(keys: Any) -> Iterable[Any]:
    """The keys of a call that takes several."""
    if isinstance(keys, (str, bytes, Key)):
        raise TypeError(f"keys must be several keys, not the one key {keys!r}")
    if not isinstance(keys, Iterable):
        raise TypeError(f"keys must be several keys, not {keys!r}")
    return keys


def unique(keys: Any) -> list[Any]:
    """The keys of a call that takes several, each once."""
    try:
        return list(dict.fromkeys(several_keys(keys)))
    except TypeError:
        for key in several_keys(keys):
            split_key(key)
        raise


def key_refs(handle: Handle, keys: Iterable[str | Key]) -> list[pb.KeyRef]:
    """The keys of the wire."""
    name = handle.name
    ref = pb.KeyRef
    refs = []
    for key in several_keys(keys):
        if type(key) is str and 0 < len(key) <= 1024 and key.isascii():
            refs.append(ref(namespace=name, key=key))
        else:
            sent, params = split_key(key)
            refs.append(ref(namespace=name, key=sent, params=params))
    return refs


async def get_many(
    handle: Handle,
    keys: Iterable[str | Key],
    max_stale: Duration | None,
    consistent: bool,
    touch: Duration | None,
    type: Any,
) -> dict[Any, Result[Any]]:
    """Reads many entries, 1,000 per call."""
    asked = unique(keys)
    results: dict[Any, Result[Any]] = {}
    stale = None if max_stale is None else to_proto(max_stale, "max_stale")
    fresh = None if touch is None else positive(touch, "touch")
    codec = handle.codec if type is None else handle.codec_for(type)
    near = handle.near
    mark = None
    if near is not None and touch is None and not consistent:
        asked = near.take_many(handle, asked, codec, results)
        mark = near.mark()
    # All keys are checked before the first call.
    refs = key_refs(handle, asked)
    for start in range(0, len(asked), BATCH):
        chunk = asked[start : start + BATCH]
        request = pb.BatchGetRequest(keys=refs[start : start + BATCH], max_stale=stale, touch=fresh)
        if consistent or mark is not None:
            request.consistency = pb.CONSISTENCY_STORE
        await _get_chunk(handle, request, chunk, codec, results, mark)
    return results


async def _get_chunk(
    handle: Handle,
    request: pb.BatchGetRequest,
    chunk: list[Any],
    codec: Any,
    results: dict[Any, Result[Any]],
    mark: Any,
) -> None:
    try:
        messages = await handle.engine.rpc(BATCH_GET, request, handle.timeout, handle.counters)
    except LarderError as error:
        if not handle.opened(error):
            raise
        handle.counters.misses += len(chunk)
        for key in chunk:
            results[key] = Miss(None, NO_FACTS, degraded=True, error=error)
        return
    position = hits = 0
    decode = codec.decode
    for message in messages:
        degraded = message.degraded
        for answer in message.results:
            key = chunk[position]
            if answer.outcome == HIT:
                value = answer.value
                kind = value.WhichOneof("kind")
                try:
                    results[key] = Hit(decode(kind, getattr(value, kind)), answer)
                    hits += 1
                except Exception:  # noqa: BLE001
                    # The way of a single read notes what is wrong.
                    results[key] = handle.result(codec, answer)
            else:
                missing = answer.outcome != STALE
                results[key] = handle.result(codec, answer, degraded and missing)
            if mark is not None:
                handle.near.keep(request.keys[position], answer, mark)
            position += 1
    handle.counters.hits += hits
