"""Calls for a namespace as a whole: invalidations, events, lists, statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from larder_cache._engine.arguments import (
    MAX_TAGS,
    check_event,
    check_hold_off,
    check_page_size,
    check_pattern,
    check_several,
    check_tags,
    check_text,
)
from larder_cache._engine.chunks import BATCH
from larder_cache._engine.engine import Engine
from larder_cache._engine.handle import Handle
from larder_cache._engine.reads import key_refs
from larder_cache._engine.writes import wrote
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport import methods
from larder_cache.durations import Duration
from larder_cache.errors import LarderError
from larder_cache.names import encode_namespace
from larder_cache.results import Invalidated, ListedKey

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
    held = None if hold_off is None else check_hold_off(hold_off)
    all_tags = check_tags(tags)
    targets = [
        pb.Target(tags=pb.TagTarget(namespace=handle.name, tags=all_tags[at : at + MAX_TAGS]))
        for at in range(0, len(all_tags), MAX_TAGS)
    ]
    for glob in check_several(globs, "globs", "text"):
        check_pattern(glob, "globs")
        targets.append(pb.Target(pattern=pb.PatternTarget(namespace=handle.name, glob=glob)))
    wide = bool(targets)
    refs = key_refs(handle, keys)
    targets.extend(pb.Target(key=ref) for ref in refs)
    results: list[pb.TargetResult] = []
    queued = False
    for start in range(0, len(targets), BATCH):
        request = pb.InvalidateRequest(targets=targets[start : start + BATCH], hold_off=held)
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


async def publish_event(
    engine: Engine, name: str, attributes: Mapping[str, str] | None
) -> Invalidated:
    """Invalidates what the rules of the server select for an event."""
    event = pb.EventTarget(attributes=check_event(name, attributes), name=name)
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
        namespace=handle.name,
        glob=check_pattern(glob, "glob", empty=True),
        page_size=check_page_size(page_size),
        page_token=token,
    )
    answer = await handle.engine.rpc(
        methods.LIST_KEYS, request, max(handle.timeout, _PAGE_TIMEOUT), handle.counters, always=True
    )
    return [ListedKey(each.key, each.params_digest) for each in answer.keys], answer.next_page_token


async def count_keys(handle: Handle, glob: str) -> int:
    """The number of keys."""
    check_pattern(glob, "glob", empty=True)
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
    prefix = engine.options.namespace_prefix
    listed = check_several(namespaces, "namespaces", "names")
    names = [encode_namespace(prefix + check_text(name, "namespaces", 1 << 20)) for name in listed]
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
