"""The contents of the fake: entries, leases and invalidations, with a clock that tests set."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

from larder_cache._engine.globs import matcher
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.testing._checks import to_proto

EntryId = tuple[str, str, str]
Matches = Callable[[EntryId, tuple[str, ...]], bool]


@dataclasses.dataclass(frozen=True)
class Policy:
    """The settings of a namespace, named as in the configuration of the server. In seconds."""

    ttl: float = 1800.0
    max_ttl: float = 7 * 86400.0
    max_value_bytes: int = 1024 * 1024
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    lease_ttl: float = 10.0
    lease_wait: float = 5.0
    abandon_backoff: float = 1.0

    @property
    def staleness(self) -> float:
        """Seconds past the TTL for which an entry can still be returned."""
        return self.stale_while_revalidate + self.stale_if_error


@dataclasses.dataclass
class Entry:
    """A stored value, or the cached absence of one."""

    id: EntryId
    value: pb.Value | None
    version: str
    written: float
    expires: float
    tags: tuple[str, ...]


@dataclasses.dataclass
class Lease:
    """A granted lease. `mark` is the count of changes when it was granted."""

    token: bytes
    expires: float
    mark: int
    lost: int = 0


class Clock:
    """The time of the fake, in seconds. It goes on by itself, and `advance` moves it."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._frozen: float | None = None

    def now(self) -> float:
        """The time now."""
        base = time.monotonic() if self._frozen is None else self._frozen
        return base + self._offset

    def move(self, seconds: float) -> None:
        """Moves the time forward."""
        if seconds < 0:
            raise ValueError("the time of the fake cannot go back")
        self._offset += seconds

    def freeze(self) -> None:
        """Stops the time: only `move` changes it from now on."""
        self._frozen = time.monotonic()


def digest_of(params: Mapping[str, str], schema_version: str = "") -> str:
    """The digest of params, as in ListedKey."""
    state = b""
    if params:
        hashed = hashlib.sha256()
        for name, value in sorted((n.encode(), v.encode()) for n, v in params.items()):
            for part in (name, value):
                hashed.update(len(part).to_bytes(8, "big"))
                hashed.update(part)
        state = hashed.digest()
    if schema_version:
        raw = schema_version.encode()
        state = hashlib.sha256(b"\xff" * 8 + len(raw).to_bytes(8, "big") + raw + state).digest()
    return urlsafe_b64encode(state).decode().rstrip("=")


class Store:
    """Entries and leases. Its lock is held by the calls of the fake."""

    def __init__(self, policy: Policy, policies: Mapping[str, Policy]) -> None:
        self.clock = Clock()
        self.changed = threading.Condition()
        self.entries: dict[EntryId, Entry] = {}
        self.leases: dict[EntryId, Lease] = {}
        self.backoffs: dict[EntryId, tuple[float, str]] = {}
        self._policy = policy
        self._policies = dict(policies)
        self._count = 0
        self._listeners: list[Callable[[pb.WatchResponse], None]] = []
        # Invalidations with what they match, their count, and the end of their hold-off.
        self._invalidations: list[tuple[Matches, int, float]] = []
        self._wakers: set[Callable[[], None]] = set()

    def policy(self, namespace: str) -> Policy:
        """The settings of a namespace."""
        return self._policies.get(namespace, self._policy)

    def identify(self, request: Any, schema_version: str) -> EntryId:
        """The entry that a request names."""
        return request.namespace, request.key, digest_of(request.params, schema_version)

    def find(self, id: EntryId) -> Entry | None:
        """The entry, fresh or stale; not one that has ended."""
        entry = self.entries.get(id)
        if entry is None:
            return None
        if self.clock.now() >= entry.expires + self.policy(id[0]).staleness:
            del self.entries[id]
            return None
        return entry

    def fresh(self, id: EntryId) -> Entry | None:
        """The entry if it is fresh."""
        entry = self.find(id)
        return entry if entry is not None and self.clock.now() < entry.expires else None

    def write(
        self,
        id: EntryId,
        value: pb.Value | None,
        ttl: float | None,
        tags: Any = (),
        expires: float | None = None,
    ) -> Entry:
        """Stores a value; all leases of the entry are void."""
        policy = self.policy(id[0])
        now = self.clock.now()
        wanted = min(policy.ttl if ttl is None else max(ttl, 0.001), policy.max_ttl)
        entry = Entry(
            id,
            value,
            os.urandom(8).hex(),
            now,
            now + wanted if expires is None else expires,
            tuple(sorted(set(tags))),
        )
        self.entries[id] = entry
        self.void(id, pb.SET_RESULT_SUPERSEDED)
        self.note_key(id)
        return entry

    def void(self, id: EntryId, why: int) -> None:
        """Ends the lease of an entry."""
        lease = self.leases.get(id)
        if lease is not None and not lease.lost:
            lease.lost = why
        self.backoffs.pop(id, None)
        self.wake()

    def remove(self, id: EntryId, hold_off: float) -> Entry | None:
        """Removes an entry; fills of its leases are refused."""
        entry = self.find(id)
        self.entries.pop(id, None)
        self.void(id, pb.SET_RESULT_INVALIDATED)
        self._remember(lambda other, tags: other == id, hold_off)
        self.note_key(id)
        return entry

    def _remember(self, matches: Matches, hold_off: float) -> None:
        self._count += 1
        now = self.clock.now()
        # Without a lease that is older, and after its hold-off, an invalidation has no effect.
        oldest = min((lease.mark for lease in self.leases.values()), default=self._count)
        self._invalidations = [
            each for each in self._invalidations if each[1] > oldest or each[2] > now
        ]
        self._invalidations.append((matches, self._count, now + hold_off))

    def invalidate(
        self,
        event: pb.WatchResponse,
        matches: Matches,
        hold_off: float,
        by_tag: bool,
    ) -> None:
        """Invalidates all entries that match."""
        for id, entry in list(self.entries.items()):
            if matches(id, entry.tags):
                del self.entries[id]
        if not by_tag:
            for id in list(self.leases):
                if matches(id, ()):
                    self.void(id, pb.SET_RESULT_INVALIDATED)
        self._remember(matches, hold_off)
        self.announce(event)
        self.wake()

    def fill_refused(self, lease_mark: int, id: EntryId, tags: tuple[str, ...]) -> bool:
        """Whether an invalidation since the mark, or a hold-off, refuses a fill."""
        now = self.clock.now()
        return any(
            (count > lease_mark or until > now) and matches(id, tags)
            for matches, count, until in self._invalidations
        )

    def held_off(self, id: EntryId) -> bool:
        """Whether a hold-off of the entry is in effect."""
        now = self.clock.now()
        return any(until > now and matches(id, ()) for matches, _, until in self._invalidations)

    def grant(self, id: EntryId) -> Lease:
        """A new lease of an entry."""
        lease = Lease(os.urandom(16), self.clock.now() + self.policy(id[0]).lease_ttl, self._count)
        self.leases[id] = lease
        return lease

    def held(self, id: EntryId) -> Lease | None:
        """The lease of an entry, if it is held."""
        lease = self.leases.get(id)
        if lease is None or lease.lost or self.clock.now() >= lease.expires:
            return None
        return lease

    def info(self, entry: Entry) -> pb.EntryInfo:
        """The facts of an entry."""
        now = self.clock.now()
        return pb.EntryInfo(
            version=entry.version,
            age=to_proto(now - entry.written),
            ttl_remaining=to_proto(entry.expires - now),
            tags=entry.tags,
            tier=pb.TIER_STORE,
        )

    def listen(self, listener: Callable[[pb.WatchResponse], None]) -> Callable[[], None]:
        """Calls the listener with all changes. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def announce(self, event: pb.WatchResponse) -> None:
        """Announces a change."""
        for listener in list(self._listeners):
            listener(event)

    def note_key(self, id: EntryId) -> None:
        """Announces the change of an entry."""
        changed = pb.KeysChanged(
            namespace=id[0], keys=[pb.ChangedKey(key=id[1], params_digest=id[2])]
        )
        self.announce(pb.WatchResponse(keys_changed=changed))

    def wake(self) -> None:
        """Wakes all calls that wait."""
        self.changed.notify_all()
        for waker in list(self._wakers):
            waker()

    def add_waker(self, waker: Callable[[], None]) -> None:
        """Calls the waker at each change."""
        self._wakers.add(waker)

    def remove_waker(self, waker: Callable[[], None]) -> None:
        """Ends that."""
        self._wakers.discard(waker)


def tags_match(namespace: str, tags: frozenset[str]) -> Any:
    """Matches the entries of a namespace with any of the tags."""
    return lambda id, entry_tags: id[0] == namespace and not tags.isdisjoint(entry_tags)


def glob_matches(namespace: str, glob: str) -> Any:
    """Matches the entries of a namespace whose key matches the glob."""
    matches = matcher(glob)
    return lambda id, tags: id[0] == namespace and matches(id[1])


def namespace_matches(namespace: str) -> Any:
    """Matches all entries of a namespace."""
    return lambda id, tags: id[0] == namespace
