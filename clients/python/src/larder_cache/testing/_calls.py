"""The calls of the fake: reads, writes, batches and lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.testing import _checks as checks
from larder_cache.testing._checks import to_proto
from larder_cache.testing._errors import FakeRpcError, invalid
from larder_cache.testing._json import NotApplicable, check_patch, dump, json_patch, merge, resolve
from larder_cache.testing._store import (
    Entry,
    EntryId,
    Store,
)

_SHORTEST_COUNTER, _LONGEST_COUNTER = -(2**63), 2**63 - 1


class Context(NamedTuple):
    """A call: its schema version, and its deadline on the monotonic clock, or None."""

    schema_version: str = ""
    deadline: float | None = None


def unavailable() -> FakeRpcError:
    """The store cannot be reached."""
    return FakeRpcError(
        "UNAVAILABLE", "the store is unreachable", "STORE_UNAVAILABLE", retry_after=0.5
    )


class Calls:
    """The calls that need not wait, each under the lock of the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.degraded = False

    def _id(self, request: Any, context: Context) -> EntryId:
        checks.check_entry(request)
        return self.store.identify(request, context.schema_version)

    def need_store(self) -> None:
        """Raises if the store is away."""
        if self.degraded:
            raise unavailable()

    def outcome(
        self, id: EntryId, max_stale: float | None, as_substitute: bool = False
    ) -> tuple[int, Entry | None]:
        """The outcome of a read, and the entry unless it is a miss.

        `as_substitute`: the value is also returned in the window `stale_if_error`.
        """
        entry = self.store.find(id)
        if entry is None:
            return pb.OUTCOME_MISS, None
        late = self.store.clock.now() - entry.expires
        if late < 0:
            return (pb.OUTCOME_NEGATIVE if entry.value is None else pb.OUTCOME_HIT), entry
        policy = self.store.policy(id[0])
        window = policy.staleness if as_substitute else policy.stale_while_revalidate
        if max_stale is not None:
            window = min(window, max_stale)
        if entry.value is None or late >= window:
            return pb.OUTCOME_MISS, None
        return pb.OUTCOME_STALE, entry

    def put_read(self, answer: Any, request: Any, index: int, outcome: int, entry: Any) -> None:
        """Fills the fields that all reads have."""
        answer.outcome = outcome
        if entry is None:
            return
        answer.entry.CopyFrom(self.store.info(entry))
        if entry.value is None:
            return
        versions = getattr(request, "if_versions_not", None)
        known = versions[index] if versions else getattr(request, "if_version_not", "")
        if known and known == entry.version:
            answer.not_modified = True
        elif request.json_pointers:
            self._put_parts(answer, request.json_pointers, entry.value)
        elif not request.omit_value:
            answer.value.CopyFrom(entry.value)

    @staticmethod
    def _put_parts(answer: Any, pointers: Any, value: pb.Value) -> None:
        if value.WhichOneof("kind") != "json":
            if not hasattr(answer, "not_json"):
                raise FakeRpcError(
                    "FAILED_PRECONDITION", "the value of the entry is not JSON", "NOT_JSON"
                )
            answer.not_json = True
            return
        document = checks.parse_json(value.json, "value.json")
        for pointer in pointers:
            part = answer.parts.add()
            try:
                part.json = dump(resolve(document, pointer))
            except NotApplicable:
                continue

    def _extend(self, request: Any, outcome: int, entry: Entry | None) -> None:
        touch = checks.positive(request, "touch")
        if touch is not None and entry is not None and outcome == pb.OUTCOME_HIT:
            longest = entry.written + self.store.policy(entry.id[0]).max_ttl
            until = min(self.store.clock.now() + touch, longest)
            entry.expires = max(entry.expires, until)

    def read(self, request: Any, id: EntryId, answer: Any, options: Any, index: int = 0) -> None:
        """Reads one entry into an answer."""
        max_stale = checks.optional(options, "max_stale")
        outcome, entry = self.outcome(id, max_stale)
        self._extend(options, outcome, entry)
        self.put_read(answer, options, index, outcome, entry)

    def get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        """Get."""
        id = self._id(request, context)
        answer = pb.GetResponse()
        if self.degraded:
            return pb.GetResponse(outcome=pb.OUTCOME_MISS, degraded=True)
        self.read(request, id, answer, request)
        return answer

    def batch_get(
        self, request: pb.BatchGetRequest, context: Context
    ) -> Iterator[pb.BatchGetResponse]:
        """BatchGet, in messages of 400 results."""
        checks.check_batch(request.keys, "keys")
        ids = [self._id(ref, context) for ref in request.keys]
        for start in range(0, len(ids), 400):
            message = pb.BatchGetResponse(degraded=self.degraded)
            for index in range(start, min(start + 400, len(ids))):
                result = message.results.add()
                if self.degraded:
                    result.outcome = pb.OUTCOME_MISS
                else:
                    self.read(request, ids[index], result, request, index)
            yield message

    def check_set(self, request: pb.SetRequest, context: Context) -> EntryId:
        """The checks of a Set."""
        id = self._id(request, context)
        checks.check_tags(request.tags)
        checks.positive(request, "ttl")
        checks.check_value(request, self.store.policy(id[0]).max_value_bytes)
        condition = request.WhichOneof("condition")
        if request.lease_token:
            checks.check_token(request.lease_token)
            if condition:
                raise invalid("lease_token", "cannot be combined with a condition")
        if condition and not getattr(request, condition):
            raise invalid(condition, "must be set")
        return id

    def set(self, request: pb.SetRequest, context: Context) -> pb.SetResponse:
        """Set."""
        return self._set(request, self.check_set(request, context))

    def _set(self, request: pb.SetRequest, id: EntryId) -> pb.SetResponse:
        if self.degraded:
            return pb.SetResponse(result=pb.SET_RESULT_NOT_STORED, degraded=True)
        store = self.store
        condition = request.WhichOneof("condition")
        fresh = store.fresh(id)
        if request.lease_token:
            refused = self._fill_refused(request, id)
            if refused:
                return pb.SetResponse(result=refused)  # type: ignore[arg-type]
            store.leases.pop(id, None)
        elif condition:
            unmet = {
                "if_absent": fresh is not None,
                "if_present": fresh is None,
                "if_version": fresh is None or fresh.version != request.if_version,
            }
            if unmet[condition]:
                return pb.SetResponse(result=pb.SET_RESULT_CONDITION_NOT_MET)
        entry = store.write(id, request.value, checks.positive(request, "ttl"), request.tags)
        ttl = to_proto(entry.expires - entry.written)
        return pb.SetResponse(result=pb.SET_RESULT_STORED, version=entry.version, ttl=ttl)

    def _fill_refused(self, request: pb.SetRequest, id: EntryId) -> int:
        store = self.store
        lease = store.leases.get(id)
        known = lease is not None and lease.token == request.lease_token
        if store.held_off(id):
            return pb.SET_RESULT_INVALIDATED
        if lease is None or not known:
            return pb.SET_RESULT_LEASE_LOST
        if lease.lost:
            return lease.lost
        if store.clock.now() >= lease.expires:
            return pb.SET_RESULT_LEASE_LOST
        if store.fill_refused(lease.mark, id, tuple(request.tags)):
            return pb.SET_RESULT_INVALIDATED
        return 0

    def batch_set(self, request: pb.BatchSetRequest, context: Context) -> pb.BatchSetResponse:
        """BatchSet."""
        checks.check_batch(request.items, "items")
        ids = [self.check_set(item, context) for item in request.items]
        return pb.BatchSetResponse(
            results=[self._set(item, id) for item, id in zip(request.items, ids)]
        )

    def delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        """Delete."""
        id = self._id(request, context)
        hold_off = checks.optional(request, "hold_off") or 0.0
        if request.HasField("if_version") and not request.if_version:
            raise invalid("if_version", "must not be empty")
        self.need_store()
        entry = self.store.find(id)
        applied = pb.DURABILITY_APPLIED
        if request.if_version and (entry is None or entry.version != request.if_version):
            return pb.DeleteResponse(existed=entry is not None, durability=applied)
        answer = pb.DeleteResponse(
            existed=entry is not None, deleted=entry is not None, durability=applied
        )
        if request.return_value and entry is not None:
            outcome, _ = self.outcome(id, None)
            answer.removed.outcome = outcome  # type: ignore[assignment]
            answer.removed.entry.CopyFrom(self.store.info(entry))
            if entry.value is not None:
                answer.removed.value.CopyFrom(entry.value)
        self.store.remove(id, hold_off)
        return answer

    def batch_delete(
        self, request: pb.BatchDeleteRequest, context: Context
    ) -> pb.BatchDeleteResponse:
        """BatchDelete."""
        checks.check_batch(request.keys, "keys")
        ids = [self._id(ref, context) for ref in request.keys]
        hold_off = checks.optional(request, "hold_off") or 0.0
        self.need_store()
        answer = pb.BatchDeleteResponse()
        for index, id in enumerate(ids):
            entry = self.store.find(id)
            version = request.if_versions[index] if request.if_versions else ""
            deleted = entry is not None and (not version or entry.version == version)
            if deleted or not version:
                self.store.remove(id, hold_off)
            answer.existed.append(entry is not None)
            answer.deleted.append(deleted)
            answer.durabilities.append(pb.DURABILITY_APPLIED)
        return answer

    def touch(self, request: pb.TouchRequest, context: Context) -> pb.TouchResponse:
        """Touch."""
        id = self._id(request, context)
        ttl = checks.positive(request, "ttl")
        if self.degraded:
            return pb.TouchResponse(degraded=True)
        entry = self.store.fresh(id)
        if entry is None:
            return pb.TouchResponse()
        policy = self.store.policy(id[0])
        applied = min(policy.ttl if ttl is None else ttl, policy.max_ttl)
        entry.expires = self.store.clock.now() + applied
        self.store.note_key(id)
        return pb.TouchResponse(found=True, ttl=to_proto(applied))

    def increment(self, request: pb.IncrementRequest, context: Context) -> pb.IncrementResponse:
        """Increment."""
        id = self._id(request, context)
        ttl = checks.positive(request, "ttl")
        self.need_store()
        store = self.store
        entry = store.fresh(id)
        if (entry is None or entry.value is None) and request.if_present:
            return pb.IncrementResponse(missing=True)
        before = request.initial
        if entry is not None and entry.value is not None:
            before = _counter(entry.value)
        total = before + (request.delta if request.HasField("delta") else 1)
        if not _SHORTEST_COUNTER <= total <= _LONGEST_COUNTER:
            raise FakeRpcError("FAILED_PRECONDITION", "the sum does not fit in 64 bits", "OVERFLOW")
        kept = entry if entry is not None and entry.value is not None else None
        changed = store.write(
            id,
            pb.Value(text=str(total)),
            ttl,
            kept.tags if kept else (),
            kept.expires if kept else None,
        )
        left = to_proto(changed.expires - changed.written)
        return pb.IncrementResponse(value=total, version=changed.version, ttl_remaining=left)

    def patch(self, request: pb.PatchRequest, context: Context) -> pb.PatchResponse:
        """Patch."""
        id = self._id(request, context)
        kind = request.WhichOneof("patch")
        if kind is None:
            raise invalid("patch", "must be set, with one of merge_patch and json_patch")
        change = checks.parse_json(getattr(request, kind), kind)
        if kind == "json_patch":
            check_patch(change)
        ttl = checks.positive(request, "ttl")
        self.need_store()
        entry = self.store.fresh(id)
        if entry is None or entry.value is None:
            return pb.PatchResponse(result=pb.PATCH_RESULT_MISSING)
        if request.HasField("if_version") and request.if_version != entry.version:
            return pb.PatchResponse(result=pb.PATCH_RESULT_CONDITION_NOT_MET)
        if entry.value.WhichOneof("kind") != "json":
            raise FakeRpcError(
                "FAILED_PRECONDITION", "the value of the entry is not JSON", "NOT_JSON"
            )
        value = checks.parse_json(entry.value.json, "value.json")
        changed = merge(value, change) if kind == "merge_patch" else json_patch(value, change)
        written = pb.SetRequest(namespace=id[0], value=pb.Value(json=dump(changed)))
        checks.check_value(written, self.store.policy(id[0]).max_value_bytes)
        stored = self.store.write(
            id, written.value, ttl, entry.tags, entry.expires if request.keep else None
        )
        left = to_proto(stored.expires - stored.written)
        return pb.PatchResponse(result=pb.PATCH_RESULT_APPLIED, version=stored.version, ttl=left)


def _counter(value: pb.Value) -> int:
    text = value.text if value.WhichOneof("kind") == "text" else ""
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or str(number) != text or not _SHORTEST_COUNTER <= number <= _LONGEST_COUNTER:
        raise FakeRpcError(
            "FAILED_PRECONDITION",
            "the entry is not a decimal integer of 64 bits",
            "NOT_AN_INTEGER",
        )
    return number
