"""The calls of the fake for a namespace as a whole: invalidations and lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from larder_cache._engine.globs import matcher
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.testing import _checks as checks
from larder_cache.testing._calls import Calls, Context
from larder_cache.testing._errors import invalid
from larder_cache.testing._events import Rule
from larder_cache.testing._store import (
    EntryId,
    glob_matches,
    namespace_matches,
    tags_match,
)


class Whole:
    """Invalidations, lists and statistics, each under the lock of the store."""

    def __init__(self, calls: Calls, events: Mapping[str, Rule]) -> None:
        self._calls = calls
        self.store = calls.store
        self._events = events

    # Invalidations.

    def invalidate_namespace(
        self, request: pb.InvalidateNamespaceRequest, context: Context
    ) -> pb.InvalidateNamespaceResponse:
        """InvalidateNamespace."""
        checks.check_namespace(request.namespace)
        self._calls.need_store()
        self._apply(pb.Target(namespace=request.namespace), 0.0, context)
        return pb.InvalidateNamespaceResponse(durability=pb.DURABILITY_APPLIED)

    def invalidate(self, request: pb.InvalidateRequest, context: Context) -> pb.InvalidateResponse:
        """Invalidate."""
        checks.check_batch(request.targets, "targets")
        hold_off = checks.optional(request, "hold_off") or 0.0
        for index, target in enumerate(request.targets):
            _check_target(target, f"targets[{index}]")
        # All rules are applied or none.
        ruled = [self._ruled(target.event) for target in request.targets]
        self._calls.need_store()
        answer = pb.InvalidateResponse(durability=pb.DURABILITY_APPLIED)
        for target, targets in zip(request.targets, ruled):
            if target.WhichOneof("target") == "event":
                result = self._apply_all(targets, hold_off, context, answer.events.add())
            else:
                result = self._apply(target, hold_off, context)
            answer.results.append(result)
        return answer

    def _ruled(self, event: pb.EventTarget) -> list[pb.Target]:
        rule = self._events.get(event.name)
        return list(rule(dict(event.attributes))) if rule else []

    def _apply_all(
        self, targets: list[pb.Target], hold_off: float, context: Context, into: pb.EventResult
    ) -> pb.TargetResult:
        whole = pb.TargetResult(durability=pb.DURABILITY_APPLIED)
        for target in targets:
            result = self._apply(target, hold_off, context)
            into.targets.add(target=target, result=result)
            whole.existed = whole.existed or result.existed
        return whole

    def _apply(self, target: pb.Target, hold_off: float, context: Context) -> pb.TargetResult:
        store = self.store
        kind = target.WhichOneof("target")
        result = pb.TargetResult(durability=pb.DURABILITY_APPLIED)
        if kind == "key":
            id = store.identify(target.key, context.schema_version)
            result.existed = store.remove(id, hold_off) is not None
            return result
        event = pb.WatchResponse()
        if kind == "namespace":
            event.namespace_invalidated.namespace = target.namespace
            matches = namespace_matches(target.namespace)
            result.namespace_invalidated = True
        elif kind == "tags":
            tags = target.tags
            event.tags_invalidated.CopyFrom(
                pb.TagsInvalidated(namespace=tags.namespace, tags=tags.tags)
            )
            matches = tags_match(tags.namespace, frozenset(tags.tags))
        else:
            pattern = target.pattern
            event.pattern_invalidated.CopyFrom(
                pb.PatternInvalidated(namespace=pattern.namespace, glob=pattern.glob)
            )
            matches = glob_matches(pattern.namespace, pattern.glob)
        store.invalidate(event, matches, hold_off, kind == "tags")
        return result

    # Lists.

    def _listed(self, request: Any) -> list[EntryId]:
        checks.check_namespace(request.namespace)
        checks.check_glob(request.glob, "glob")
        self._calls.need_store()
        matches = matcher(request.glob or "*")
        return sorted(
            id
            for id in list(self.store.entries)
            if id[0] == request.namespace and matches(id[1]) and self.store.find(id) is not None
        )

    def list_keys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:
        """ListKeys."""
        ids = self._listed(request)
        start = int(request.page_token or 0)
        end = start + min(request.page_size or 100, 1000)
        return pb.ListKeysResponse(
            keys=[pb.ListedKey(key=id[1], params_digest=id[2]) for id in ids[start:end]],
            next_page_token=str(end) if end < len(ids) else "",
        )

    def count_keys(self, request: pb.CountKeysRequest, context: Context) -> pb.CountKeysResponse:
        """CountKeys."""
        return pb.CountKeysResponse(count=len(self._listed(request)))

    def stats(self, request: pb.StatsRequest, context: Context) -> pb.StatsResponse:
        """Stats: the number of keys only; the fake does not count events."""
        names = sorted(request.namespaces or {id[0] for id in self.store.entries})
        collected = Timestamp()
        collected.GetCurrentTime()
        answer = pb.StatsResponse(
            store=pb.StoreStats(kind="memory", reachable=not self._calls.degraded),
            degraded=self._calls.degraded,
            collected_at=collected,
        )
        for name in names:
            keys = sum(id[0] == name for id in self.store.entries)
            answer.namespaces.add(namespace=name, size=pb.NamespaceSize(keys=keys))
        return answer


def _check_target(target: pb.Target, field: str) -> None:
    kind = target.WhichOneof("target")
    if kind is None:
        raise invalid(
            f"{field}.target", "must be set: to a namespace, tags, a pattern, a key or an event"
        )
    if kind == "namespace":
        checks.check_namespace(target.namespace, f"{field}.namespace")
    elif kind == "tags":
        checks.check_namespace(target.tags.namespace, f"{field}.tags.namespace")
        checks.check_batch(target.tags.tags, f"{field}.tags.tags")
        checks.check_tags(target.tags.tags, f"{field}.tags.tags")
    elif kind == "pattern":
        checks.check_namespace(target.pattern.namespace, f"{field}.pattern.namespace")
        if not target.pattern.glob:
            raise invalid(f"{field}.pattern.glob", "must be set")
        checks.check_glob(target.pattern.glob, f"{field}.pattern.glob")
    elif kind == "key":
        checks.check_entry(target.key)
    elif not target.event.name:
        raise invalid(f"{field}.event.name", "must be set")
