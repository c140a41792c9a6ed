"""get_or_fetch_many: the lease protocol for many keys with one loader."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from larder_cache._engine.chunks import BATCH, chunks
from larder_cache._engine.computing import Lease, computed, store, unpack
from larder_cache._engine.fetching import budget_of, proto_seconds
from larder_cache._engine.handle import Handle
from larder_cache._engine.reads import key_refs, unique
from larder_cache._engine.writes import stored_of, wrote
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.methods import BATCH_GET_OR_FETCH, BATCH_SET
from larder_cache.codecs import Codec
from larder_cache.durations import Duration, Forever, to_proto, to_seconds
from larder_cache.errors import DecodeError, EncodeError, LarderError, Unavailable, make_error
from larder_cache.results import Miss, NotStored, Result, Stale, Stored

__all__ = ["get_or_fetch_many"]


class _Missing:
    """A key to compute: its place, its lease if there is one, and its substitute."""

    __slots__ = ("key", "lease", "meanwhile", "miss", "ref", "stale")

    def __init__(
        self,
        key: Any,
        ref: pb.KeyRef,
        lease: Lease | None,
        miss: Result[Any],
        stale: Result[Any] | None = None,
        meanwhile: bool = False,
    ) -> None:
        self.key = key
        self.ref = ref
        self.lease = lease
        self.miss = miss
        self.stale = stale
        # Whether the stale value is the answer while the new one is computed.
        self.meanwhile = meanwhile


class _Batch:
    """One call for at most 1,000 keys."""

    def __init__(
        self,
        handle: Handle,
        keys: list[Any],
        loader: Callable[[list[Any]], Mapping[Any, Any]] | None,
        ttl: Any,
        tags: tuple[str, ...],
        budget: float,
        refresh: bool,
        max_stale: Duration | None,
        codec: Codec,
    ) -> None:
        self.handle = handle
        self.key = f"{len(keys)} keys"
        self.keys = keys
        self.loader = loader
        self.ttl = ttl
        self.tags = tags
        self.budget = budget
        self.deadline = time.monotonic() + budget
        self.refresh = refresh
        self.max_stale = None if max_stale is None else to_proto(max_stale, "max_stale")
        self.codec = codec
        self.results: dict[Any, Result[Any]] = {}
        self.undecodable: list[tuple[Any, pb.KeyRef]] = []
        # Whether the keys are those of values that cannot be decoded, which were counted as misses.
        self.counted = False
        self.mark: int | None = None

    async def run(self) -> dict[Any, Result[Any]]:
        """The results of all keys."""
        await self._answer(list(zip(self.keys, key_refs(self.handle, self.keys))))
        if self.undecodable:
            # They are computed anew. Values of others that cannot be decoded stay then.
            self.refresh = self.counted = True
            await self._answer(self.undecodable)
        return {key: self.results[key] for key in self.keys}

    async def _answer(self, pending: list[tuple[Any, pb.KeyRef]]) -> None:
        first = True
        while pending:
            left = self.budget if first else max(0.0, self.deadline - time.monotonic())
            wait = min(left, self.handle.engine.options.wait)
            pending, pause = await self._ask(pending, wait)
            first = False
            if pending and pause:
                await self.handle.engine.io.sleep(pause)

    async def _ask(
        self, pending: list[tuple[Any, pb.KeyRef]], wait: float
    ) -> tuple[list[tuple[Any, pb.KeyRef]], float]:
        """Asks for the keys, and computes what is missing. Returns those to ask for again."""
        handle = self.handle
        request = pb.BatchGetOrFetchRequest(
            keys=[ref for _, ref in pending],
            wait=proto_seconds(wait),
            no_cache=self.refresh,
            max_stale=self.max_stale,
        )
        near = handle.near
        self.mark = None if near is None else near.mark()
        if self.mark is not None:
            request.consistency = pb.CONSISTENCY_STORE
        timeout = wait + handle.engine.options.fetch_margin
        try:
            messages = await handle.engine.rpc(
                BATCH_GET_OR_FETCH, request, timeout, handle.counters
            )
        except LarderError as error:
            if not handle.opened(error):
                raise
            miss: Result[Any] = Miss(None, degraded=True, error=error)
            await self._compute([_Missing(key, ref, None, miss) for key, ref in pending])
            return [], 0.0
        missing: list[_Missing] = []
        again: list[tuple[Any, pb.KeyRef]] = []
        pause = 0.0
        failed: LarderError | None = None
        answers = (result for message in messages for result in message.results)
        for (key, ref), result in zip(pending, answers):
            try:
                retry = self._take(key, ref, result, missing)
            except LarderError as error:
                failed = failed or error
                continue
            if retry is not None:
                again.append((key, ref))
                pause = max(pause, retry)
        if failed is not None:
            leases = [each.lease for each in missing if each.lease is not None]
            await _abandon(leases, "another key failed", pass_on=True)
            raise failed
        pause *= random.uniform(0.5, 1.0)
        if again and time.monotonic() + pause >= self.deadline:
            busy = Unavailable("another caller computes the value", reason="CONTENDED")
            handle.counters.misses += 0 if self.counted else len(again)
            missing.extend(_Missing(key, ref, None, Miss(None, error=busy)) for key, ref in again)
            again = []
        await self._compute(missing)
        return again, pause

    def _take(
        self, key: Any, ref: pb.KeyRef, result: pb.BatchGetOrFetchResult, missing: list[_Missing]
    ) -> float | None:
        """Notes the answer for a key. Seconds until it is to be asked for again, or None."""
        handle = self.handle
        if result.WhichOneof("result") == "error":
            failed = result.error
            retry = to_seconds(failed.retry_after) if failed.HasField("retry_after") else None
            error = make_error(
                "UNAVAILABLE", failed.message, reason=failed.reason, retry_after=retry
            )
            if not handle.opened(error):
                raise error
            missing.append(_Missing(key, ref, None, Miss(None, degraded=True, error=error)))
            return None
        answer = result.answer
        kind = answer.WhichOneof("outcome")
        if kind == "found":
            if self.mark is not None:
                handle.near.keep(ref, answer.found, self.mark)
            found = handle.result(self.codec, answer.found, answer.degraded)
            self.results[key] = found
            if isinstance(found.error, DecodeError) and self.loader is not None:
                if self.refresh:
                    missing.append(_Missing(key, ref, None, found))
                else:
                    self.undecodable.append((key, ref))
            return None
        if kind == "contended":
            return to_seconds(answer.contended.retry_after)
        handle.counters.misses += 0 if self.counted else 1
        miss: Result[Any] = Miss(None, degraded=answer.degraded)
        if kind == "not_cached":
            self.results[key] = miss
            return None
        if kind != "lease":
            # An answer that this release lacks.
            missing.append(_Missing(key, ref, None, miss))
            return None
        granted = answer.lease
        lease = Lease(
            handle,
            ref.key,
            dict(ref.params),
            granted.token,
            to_seconds(granted.expires_in),
            answer.degraded,
        )
        stale = handle.result(self.codec, granted.stale) if granted.HasField("stale") else None
        meanwhile = bool(stale) and granted.stale_while_revalidate and not answer.degraded
        missing.append(_Missing(key, ref, lease, miss, stale if stale else None, meanwhile))
        return None

    async def _compute(self, missing: list[_Missing]) -> None:
        if not missing:
            return
        loader = self.loader
        leases = [each.lease for each in missing if each.lease is not None]
        if loader is None:
            for each in missing:
                self.results[each.key] = each.stale or each.miss
            await _abandon(leases, "no loader", pass_on=True)
            return
        later = [each for each in missing if each.meanwhile]
        if later and self._in_background(later, loader):
            for each in later:
                self.results[each.key] = each.stale or each.miss
            missing = [each for each in missing if not each.meanwhile]
        if missing:
            await self._load(missing, loader)

    def _in_background(
        self, missing: list[_Missing], loader: Callable[[list[Any]], Mapping[Any, Any]]
    ) -> bool:
        async def refresh() -> None:
            try:
                await self._load(missing, loader, background=True)
            except Exception:  # noqa: BLE001, S110
                # Errors of loaders are counted and have abandoned the leases.
                pass

        return self.handle.engine.io.background(refresh)

    async def _load(
        self,
        missing: list[_Missing],
        loader: Callable[[list[Any]], Mapping[Any, Any]],
        background: bool = False,
    ) -> None:
        handle = self.handle
        io = handle.engine.io
        handle.counters.loads += 1
        leases = [each.lease for each in missing if each.lease is not None]
        renewing = [io.every(each.interval, each.renew) for each in leases if not each.degraded]
        is_held = True
        try:
            try:
                values = await io.load(loader, [each.key for each in missing])
                if not isinstance(values, Mapping):
                    kind = type(values).__name__
                    raise TypeError(f"the loader must return a mapping, not {kind}")
            except Exception as error:
                handle.counters.load_errors += 1
                await _abandon(leases, type(error).__name__)
                is_held = False
                if background or any(each.stale is None for each in missing):
                    raise
                for each in missing:
                    stale = each.stale
                    assert stale is not None
                    self.results[each.key] = Stale(stale.value, stale._facts, error=error)
                return
            await self._fill(missing, values, background)
        except BaseException:
            if is_held:
                await io.detached(lambda: _abandon(leases, "cancelled", pass_on=True))
            raise
        finally:
            # Not before the fills: those of many values can take longer than the leases last.
            for renewal in renewing:
                renewal.stop()

    async def _fill(
        self, missing: list[_Missing], values: Mapping[Any, Any], background: bool
    ) -> None:
        results: dict[Any, Result[Any]] = {}
        fills: list[tuple[_Missing, Any, Any, tuple[str, ...], pb.SetRequest]] = []
        # Leases are given up after the fills, which others wait for.
        unfilled: list[tuple[_Missing, Any, Any, tuple[str, ...], bool]] = []
        without_value: list[Lease] = []
        for each in missing:
            if each.key not in values:
                if each.lease is not None:
                    without_value.append(each.lease)
                results[each.key] = each.miss
                continue
            value, ttl, tags, keep = unpack(self, values[each.key])
            lease = each.lease
            if lease is None or lease.degraded or lease.lost or not keep or ttl is False:
                unfilled.append((each, value, ttl, tags, keep))
                continue
            try:
                encoded = self.handle.encode(value, self.codec)
            except EncodeError:
                # The same steps as for one key, which log it.
                unfilled.append((each, value, ttl, tags, keep))
                continue
            request = pb.SetRequest(
                namespace=self.handle.name,
                key=each.ref.key,
                params=each.ref.params,
                value=encoded,
                ttl=ttl,
                tags=tags,
                lease_token=lease.token,
            )
            fills.append((each, value, ttl, tags, request))
        await self._send(fills, results)
        for each, value, ttl, tags, keep in unfilled:
            results[each.key] = await self._unfilled(each, value, ttl, tags, keep)
        await _abandon(without_value, "no value", pass_on=True)
        if not background:
            self.results.update(results)

    async def _unfilled(
        self, each: _Missing, value: Any, ttl: Any, tags: tuple[str, ...], keep: bool
    ) -> Result[Any]:
        lease = each.lease
        if lease is not None:
            can_be_kept = keep and ttl is not False
            is_away = self.handle.engine.breaker.open
            if lease.degraded or lease.lost or can_be_kept or not is_away:
                stored = await store(self, lease, value, ttl, tags, keep)
            else:
                # Not cacheable, and the server is away: the lease expires by itself.
                stored = NotStored("EXPIRED" if keep else "NOT_STORED")
            return computed(value, stored, tags, lease.degraded)
        self.handle.counters.fills_refused += 1
        miss = each.miss
        reason = "UNAVAILABLE" if miss.degraded else "NOT_STORED"
        refused = NotStored(reason, miss.degraded, miss.error)
        return computed(value, refused, tags, miss.degraded, miss.error)

    async def _send(self, fills: list[Any], results: dict[Any, Result[Any]]) -> None:
        """Stores the values, in batches that a server takes."""
        handle = self.handle
        for chunk in chunks(fills, lambda fill: fill[4].ByteSize()):
            request = pb.BatchSetRequest(items=[fill[4] for fill in chunk])
            try:
                answer = await handle.engine.rpc(
                    BATCH_SET, request, handle.timeout, handle.counters, repeat=False, always=True
                )
                outcomes = [stored_of(each) for each in answer.results]
            except LarderError as error:
                outcomes = await self._store_singly(chunk, error)
            handle.counters.fills_refused += sum(not stored for stored in outcomes)
            for (each, value, _, tags, _), stored in zip(chunk, outcomes):
                results[each.key] = computed(value, stored, tags, False)

    async def _store_singly(self, chunk: list[Any], error: LarderError) -> list[Stored | NotStored]:
        """Stores the values of a batch that is refused, as one may be too large for all."""
        outcomes: list[Stored | NotStored] = []
        if not error.outage:
            for each, _, ttl, tags, request in chunk:
                stored = await each.lease.fill(request.value, ttl, tags)
                outcomes.append(stored)
                if stored:
                    continue
                if stored.reason == "UNAVAILABLE":
                    break
                if stored.reason == "NOT_STORED":
                    await _abandon([each.lease], "not stored", pass_on=True)
        self.handle.counters.errors += 1
        # The server is away: the others would wait for it one after the other.
        rest = len(chunk) - len(outcomes)
        return outcomes + [NotStored("UNAVAILABLE", True, error)] * rest


async def _abandon(leases: list[Lease], reason: str, *, pass_on: bool = False) -> None:
    for lease in leases:
        if lease.handle.engine.breaker.open:
            # The server is away: the leases expire by themselves.
            return
        await lease.abandon(reason, pass_on=pass_on)


async def get_or_fetch_many(
    handle: Handle,
    keys: Iterable[Any],
    loader: Callable[[list[Any]], Any] | None,
    ttl: Duration | Forever | None,
    tags: Any,
    timeout: Duration | None,
    refresh: bool,
    max_stale: Duration | None,
    type: Any,
) -> dict[Any, Result[Any]]:
    """Reads many entries, and computes the missing ones with one call of the loader."""
    if loader is not None and not callable(loader):
        raise TypeError(f"loader must be callable, not {loader!r}")
    asked = unique(keys)
    # All arguments are checked before the first call.
    key_refs(handle, asked)
    if max_stale is not None:
        to_proto(max_stale, "max_stale")
    results: dict[Any, Result[Any]] = {}
    codec = handle.codec_for(type)
    duration, all_tags = handle.ttl_for(ttl), handle.tags_for(tags)
    budget = budget_of(handle, timeout)
    order = asked
    if handle.near is not None and not refresh:
        asked = handle.near.take_many(handle, asked, codec, results)
    for start in range(0, len(asked), BATCH):
        chunk = asked[start : start + BATCH]
        batch = _Batch(handle, chunk, loader, duration, all_tags, budget, refresh, max_stale, codec)
        try:
            results.update(await batch.run())
        finally:
            if refresh:
                for ref in key_refs(handle, chunk):
                    wrote(handle, ref.key)
    return {key: results[key] for key in order}
