"""The calls of the fake that compute values: leases, and the waits for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.codecs import JsonCodec
from larder_cache.testing import _checks as checks
from larder_cache.testing._calls import Calls, Context
from larder_cache.testing._checks import to_proto
from larder_cache.testing._errors import FakeRpcError
from larder_cache.testing._store import Entry, EntryId

Origin = Callable[[str, Mapping[str, str]], Any]
# A waiting call yields the seconds that it can wait for a change.
Waiting = Generator[float, None, Any]

_LONGEST_WAIT = 60.0
_RENEWED = {
    pb.SET_RESULT_LEASE_LOST: pb.RENEW_RESULT_LEASE_LOST,
    pb.SET_RESULT_INVALIDATED: pb.RENEW_RESULT_INVALIDATED,
    pb.SET_RESULT_SUPERSEDED: pb.RENEW_RESULT_SUPERSEDED,
}


class Fetches:
    """GetOrFetch, BatchGetOrFetch, Renew and Abandon."""

    def __init__(self, calls: Calls, origins: Mapping[str, Origin]) -> None:
        self._calls = calls
        self._store = calls.store
        self._origins = dict(origins)

    def get_or_fetch(self, request: pb.GetOrFetchRequest, context: Context) -> Waiting:
        """GetOrFetch."""
        checks.check_entry(request)
        id = self._store.identify(request, context.schema_version)
        until = self._wait_until(request, id[0], context)
        waited = False
        while True:
            answer = self._try(request, id, request, 0, waited)
            if answer is not None:
                return answer
            left = until - time.monotonic()
            if left <= 0:
                return self._contended(id)
            waited = True
            yield left

    def batch_get_or_fetch(self, request: pb.BatchGetOrFetchRequest, context: Context) -> Waiting:
        """BatchGetOrFetch. It waits only while it has no lease itself."""
        checks.check_batch(request.keys, "keys")
        for ref in request.keys:
            checks.check_entry(ref)
        ids = [self._store.identify(ref, context.schema_version) for ref in request.keys]
        until = self._wait_until(request, ids[0][0], context)
        answers: list[pb.GetOrFetchResponse | None] = [None] * len(ids)
        waited = False
        while True:
            for index, id in enumerate(ids):
                if answers[index] is None:
                    ref = request.keys[index]
                    answers[index] = self._try(ref, id, request, index, waited)
            leases = any(a is not None and a.WhichOneof("outcome") == "lease" for a in answers)
            left = until - time.monotonic()
            if None not in answers or leases or left <= 0:
                break
            waited = True
            yield left
        message = pb.BatchGetOrFetchResponse()
        for answer, id in zip(answers, ids):
            message.results.add(answer=answer or self._contended(id))
        return [message]

    def _wait_until(self, request: Any, namespace: str, context: Context) -> float:
        wait = checks.optional(request, "wait")
        if wait is None:
            wait = self._store.policy(namespace).lease_wait
        until = time.monotonic() + min(wait, _LONGEST_WAIT)
        if context.deadline is not None:
            until = min(until, context.deadline - 0.1)
        return until

    def _found(
        self, entry: Entry, outcome: int, options: Any, index: int, status: int = 0, cause: str = ""
    ) -> pb.GetOrFetchResponse:
        answer = pb.GetOrFetchResponse(fetch_status=status, cause=cause)  # type: ignore[arg-type]
        answer.found.SetInParent()
        self._calls.put_read(answer.found, options, index, outcome, entry)
        return answer

    def _try(
        self, ref: Any, id: EntryId, options: Any, index: int, waited: bool
    ) -> pb.GetOrFetchResponse | None:
        """The answer of now; None if the call has to wait."""
        store = self._store
        if self._calls.degraded:
            return self._degraded(ref, options)
        outcome, entry = self._calls.outcome(
            id, checks.optional(options, "max_stale"), as_substitute=True
        )
        if entry is not None and outcome != pb.OUTCOME_STALE and not options.no_cache:
            status = pb.FETCH_STATUS_COALESCED if waited else pb.FETCH_STATUS_UNSPECIFIED
            return self._found(entry, outcome, options, index, status)
        stale = entry if outcome == pb.OUTCOME_STALE and not options.no_cache else None
        if options.only_if_cached:
            if stale is not None and self._refreshing(stale):
                return self._found(stale, outcome, options, index)
            return pb.GetOrFetchResponse(not_cached=pb.NotCached())
        failed = store.backoffs.get(id)
        if failed is not None and store.clock.now() < failed[0]:
            status, cause = pb.FETCH_STATUS_FAILED, failed[1]
            if stale is not None:
                return self._found(stale, outcome, options, index, status, cause)
            return self._contended(id)
        if id[0] in self._origins:
            return self._fetch(ref, id, options, index)
        if store.held(id) is None or store.held_off(id):
            return self._lease(id, stale, options, index)
        if stale is not None and self._refreshing(stale):
            return self._found(stale, outcome, options, index, pb.FETCH_STATUS_REFRESHING)
        return None

    def _refreshing(self, stale: Entry) -> bool:
        late = self._store.clock.now() - stale.expires
        return late < self._store.policy(stale.id[0]).stale_while_revalidate

    def _lease(
        self, id: EntryId, stale: Entry | None, options: Any, index: int
    ) -> pb.GetOrFetchResponse:
        lease = self._store.grant(id)
        answer = pb.GetOrFetchResponse()
        answer.lease.token = lease.token
        answer.lease.expires_in.CopyFrom(to_proto(self._store.policy(id[0]).lease_ttl))
        if stale is not None:
            self._calls.put_read(answer.lease.stale, options, index, pb.OUTCOME_STALE, stale)
            answer.lease.stale_while_revalidate = self._refreshing(stale)
        return answer

    def _degraded(self, ref: Any, options: Any) -> pb.GetOrFetchResponse:
        if options.only_if_cached:
            return pb.GetOrFetchResponse(not_cached=pb.NotCached(), degraded=True)
        answer = pb.GetOrFetchResponse(degraded=True)
        answer.lease.token = os.urandom(16)
        lease_ttl = self._store.policy(ref.namespace).lease_ttl
        answer.lease.expires_in.CopyFrom(to_proto(lease_ttl))
        return answer

    def _contended(self, id: EntryId) -> pb.GetOrFetchResponse:
        store = self._store
        now = store.clock.now()
        failed = store.backoffs.get(id)
        if failed is not None and now < failed[0]:
            return pb.GetOrFetchResponse(
                contended=pb.Contended(retry_after=to_proto(failed[0] - now)),
                fetch_status=pb.FETCH_STATUS_FAILED,
                cause=failed[1],
            )
        lease = store.held(id)
        left = min(1.0, lease.expires - now) if lease is not None else 0.01
        return pb.GetOrFetchResponse(contended=pb.Contended(retry_after=to_proto(left)))

    def _fetch(self, ref: Any, id: EntryId, options: Any, index: int) -> pb.GetOrFetchResponse:
        try:
            value = self._origins[id[0]](ref.key, dict(ref.params))
        except Exception as error:
            raise FakeRpcError(
                "UNAVAILABLE",
                f"the origin of {id[0]} failed: {error}",
                "ORIGIN_ERROR",
                {"origin": id[0], "cause": type(error).__name__},
            ) from error
        stored = None
        if value is not None:
            kind, content = JsonCodec().encode(value)
            stored = pb.Value(**{kind: content})  # type: ignore[arg-type]
        entry = self._store.write(id, stored, None)
        outcome = pb.OUTCOME_NEGATIVE if stored is None else pb.OUTCOME_HIT
        answer = self._found(entry, outcome, options, index, pb.FETCH_STATUS_FETCHED)
        answer.found.entry.tier = pb.TIER_ORIGIN
        answer.fill = pb.FILL_RESULT_STORED
        return answer

    def renew(self, request: pb.RenewRequest, context: Context) -> pb.RenewResponse:
        """Renew."""
        checks.check_entry(request)
        checks.check_token(request.lease_token)
        if self._calls.degraded:
            return pb.RenewResponse(degraded=True)
        store = self._store
        id = store.identify(request, context.schema_version)
        lease = store.leases.get(id)
        if lease is None or lease.token != request.lease_token:
            return pb.RenewResponse(result=pb.RENEW_RESULT_LEASE_LOST)
        if lease.lost:
            return pb.RenewResponse(result=_RENEWED[lease.lost])  # type: ignore[index]
        if store.clock.now() >= lease.expires:
            return pb.RenewResponse(result=pb.RENEW_RESULT_LEASE_LOST)
        lease_ttl = store.policy(id[0]).lease_ttl
        lease.expires = store.clock.now() + lease_ttl
        return pb.RenewResponse(result=pb.RENEW_RESULT_RENEWED, expires_in=to_proto(lease_ttl))

    def abandon(self, request: pb.AbandonRequest, context: Context) -> pb.AbandonResponse:
        """Abandon."""
        checks.check_entry(request)
        checks.check_token(request.lease_token)
        store = self._store
        id = store.identify(request, context.schema_version)
        lease = store.held(id)
        if lease is not None and lease.token == request.lease_token:
            del store.leases[id]
            if not request.pass_on:
                until = store.clock.now() + store.policy(id[0]).abandon_backoff
                store.backoffs[id] = (until, request.reason[:96])
            store.wake()
        return pb.AbandonResponse()
