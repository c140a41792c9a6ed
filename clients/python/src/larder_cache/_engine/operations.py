"""Calls for a namespace as a whole: invalidations, events, lists, statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from larder_cache._engine.chunks import BATCH
from larder_cache._engine.engine import Engine
from larder_cache._engine.handle import Handle, check_tags
from larder_cache._engine.reads import key_refs
from larder_cache._engine.writes import wrote
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport import methods
from larder_cache.durations import Duration, to_proto
from larder_cache.errors import InvalidArgument, LarderError
from larder_cache.names import encode_namespace
from larder_cache.results import Invalidated, ListedKey

_TAGS = 32
# A server walks at most its 100 ms per page, so that a page of a large store takes no longer.
_PAGE_TIMEOUT = 5.0


async def invalidate(
    handle: Handle,
    tags: Iterable[str],
    globs: Iterable[str],
    keys: Iterable[Any],
    hold_off: Duration | None,
) -> Invalidated:
    """Invalidates by tag, glob and key, 1,000 targets per call."""
    if isinstance(globs, str):
        raise TypeError(f"globs must be a list of text, not the text {globs!r}")
    all_tags = check_tags(tags)
    targets = [
        pb.Target(tags=pb.TagTarget(namespace=handle.name, tags=all_tags[at : at + _TAGS]))
        for at in range(0, len(all_tags), _TAGS)
    ]
    for glob in globs:
        if not glob:
            raise InvalidArgument("globs must not have an empty pattern")
        targets.append(pb.Target(pattern=pb.PatternTarget(namespace=handle.name, glob=glob)))
    wide = bool(targets)
    refs = key_refs(handle, keys)
    targets.extend(pb.Target(key=ref) for ref in refs)
    results: list[pb.TargetResult] = []
    queued = False
    for start in range(0, len(targets), BATCH):
        request = pb.InvalidateRequest(targets=targets[start : start + BATCH])
        if hold_off is not None:
            request.hold_off.CopyFrom(to_proto(hold_off, "hold_off"))
        try:
            answer = await _always(handle, methods.INVALIDATE, request)
        finally:
            if wide:
                wrote(handle, None)
            for ref in refs:
                wrote(handle, ref.key)
        results.extend(answer.results)
        queued = queued or answer.durability == pb.DURABILITY_QUEUED
    return Invalidated(tuple(results), (), queued)


async def invalidate_namespace(handle: Handle) -> Invalidated:
    """Invalidates a whole namespace."""
    request = pb.InvalidateNamespaceRequest(namespace=handle.name)
    try:
        answer = await _always(handle, methods.INVALIDATE_NAMESPACE, request)
    finally:
        wrote(handle, None)
    return Invalidated((), (), answer.durability == pb.DURABILITY_QUEUED)


async def _always(handle: Handle, method: methods.Method, request: Any) -> Any:
    try:
        return await handle.engine.rpc(
            method, request, handle.timeout, handle.counters, always=True
        )
    except LarderError:
        handle.counters.errors += 1
        raise


async def publish_event(engine: Engine, name: str, attributes: Mapping[str, str]) -> Invalidated:
    """Invalidates what the rules of the server select for an event."""
    if not name:
        raise InvalidArgument("name of an event must not be empty")
    for attribute, value in attributes.items():
        if not isinstance(attribute, str) or not isinstance(value, str):
            raise TypeError(f"attributes must be text, not {attribute!r}: {value!r}")
    event = pb.EventTarget(name=name, attributes=attributes)
    request = pb.InvalidateRequest(targets=[pb.Target(event=event)])
    answer = await engine.rpc(
        methods.INVALIDATE, request, engine.options.call_timeout, None, always=True
    )
    for result in answer.events:
        for each in result.targets:
            _forget_target(engine, each.target)
    queued = answer.durability == pb.DURABILITY_QUEUED
    return Invalidated(tuple(answer.results), tuple(answer.events), queued)


def _forget_target(engine: Engine, target: pb.Target) -> None:
    kind = target.WhichOneof("target")
    if kind is None:
        return
    value = getattr(target, kind)
    namespace = value if kind == "namespace" else value.namespace
    key = value.key if kind == "key" else None
    engine.io.forget(namespace, key)
    if engine.near_hub is not None:
        engine.near_hub.wrote(namespace, key)


async def list_page(
    handle: Handle, glob: str, page_size: int, token: str
) -> tuple[list[ListedKey], str]:
    """A page of keys, and the token of the next; an empty one at the end."""
    request = pb.ListKeysRequest(
        namespace=handle.name, glob=glob, page_size=page_size, page_token=token
    )
    answer = await handle.engine.rpc(
        methods.LIST_KEYS, request, max(handle.timeout, _PAGE_TIMEOUT), handle.counters, always=True
    )
    return [ListedKey(each.key, each.params_digest) for each in answer.keys], answer.next_page_token


async def count_keys(handle: Handle, glob: str) -> int:
    """The number of keys."""
    total = 0
    token = ""
    while True:
        request = pb.CountKeysRequest(namespace=handle.name, glob=glob, page_token=token)
        answer = await handle.engine.rpc(
            methods.COUNT_KEYS,
            request,
            max(handle.timeout, _PAGE_TIMEOUT),
            handle.counters,
            always=True,
        )
        total += int(answer.count)
        token = answer.next_page_token
        if not token:
            return total


async def stats(engine: Engine, namespaces: Iterable[str]) -> pb.StatsResponse:
    """The statistics of the fleet, all pages in one answer."""
    if isinstance(namespaces, str):
        raise TypeError(f"namespaces must be a list of names, not {namespaces!r}")
    prefix = engine.options.namespace_prefix
    names = [encode_namespace(prefix + name) for name in namespaces]
    whole: pb.StatsResponse | None = None
    token = ""
    while True:
        request = pb.StatsRequest(namespaces=names, page_token=token)
        answer: pb.StatsResponse = await engine.rpc(
            methods.STATS, request, engine.options.call_timeout, None, always=True
        )
        token = answer.next_page_token
        if whole is None:
            whole = answer
        else:
            whole.namespaces.extend(answer.namespaces)
        if not token:
            whole.next_page_token = ""
            return whole


async def namespace_stats(handle: Handle) -> pb.NamespaceStats:
    """The statistics of one namespace."""
    request = pb.StatsRequest(namespaces=[handle.name])
    answer: pb.StatsResponse = await _always(handle, methods.STATS, request)
    for each in answer.namespaces:
        if each.namespace == handle.name:
            return each
    return pb.NamespaceStats(namespace=handle.name)
