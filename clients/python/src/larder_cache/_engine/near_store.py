"""The kept values of a near cache."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Mapping
from time import monotonic
from typing import Any

from larder_cache._engine.feeds import Heartbeat
from larder_cache._engine.globs import matcher
from larder_cache._engine.handle import HIT, Handle
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.codecs import Codec
from larder_cache.durations import to_seconds
from larder_cache.events import (
    Event,
    KeysChanged,
    NamespaceInvalidated,
    PatternInvalidated,
    Ready,
    Reset,
    TagsInvalidated,
)
from larder_cache.near import NearCache
from larder_cache.results import Facts, Hit, Result

logger = logging.getLogger("larder_cache")

# Bytes of an entry besides its key and value.
_OVERHEAD = 400
# Changes that are remembered for reads under way; a read that is older is not kept.
_LOG = 4096

Identity = tuple[str, "frozenset[tuple[str, str]] | None"]


class _Entry:
    __slots__ = ("content", "expires", "facts", "key", "kind", "size", "written")

    def __init__(self, key: str, kind: Any, content: Any, facts: Facts, now: float) -> None:
        self.key = key
        self.kind = kind
        self.content = content
        self.facts = facts
        self.expires = now + facts.ttl_remaining
        self.written = now - facts.age
        self.size = len(content) + len(key) + _OVERHEAD


class NearStore:
    """The kept values of a namespace, and whether they may be used."""

    def __init__(self, settings: NearCache) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._entries: OrderedDict[Identity, _Entry] = OrderedDict()
        self._by_key: dict[str, set[Identity]] = {}
        self._bytes = 0
        self._log: deque[tuple[str, Any]] = deque(maxlen=_LOG)
        self._count = 0
        self._usable_until = 0.0
        self._silence = 0.0
        self._ready = False
        # Whether only silence has ended the use, so that the same stream can go on.
        self._lapsed = False

    @property
    def usable(self) -> bool:
        """Whether all changes are known up to now."""
        if not self._ready:
            return False
        if monotonic() > self._usable_until:
            self._lapse()
            return False
        return True

    def alive(self) -> None:
        """After any message of the feed."""
        self._usable_until = monotonic() + self._silence

    def take(self, handle: Handle, identity: Identity, codec: Codec) -> Result[Any] | None:
        """The kept value, or None."""
        now = monotonic()
        if not self._ready or now > self._usable_until:
            return None
        with self._lock:
            entry = self._entries.get(identity)
            if entry is None:
                return None
            if now >= entry.expires:
                self._remove(identity, entry)
                return None
            self._entries.move_to_end(identity)
        try:
            value = codec.decode(entry.kind, entry.content)
        except Exception as error:  # noqa: BLE001
            return handle.undecodable(error, entry.facts)
        counters = handle.counters
        counters.hits += 1
        counters.near_hits += 1
        return Hit(value, _FactsAt(entry, now))

    def mark(self) -> int | None:
        """The point in time of a read that begins now; None if its value cannot be kept."""
        return self._count if self.usable else None

    def keep(self, identity: Identity, answer: Any, mark: int) -> None:
        """Keeps the answer to a read that began at the mark, if nothing has changed it since."""
        if answer.outcome != HIT or answer.entry.tier != pb.TIER_STORE:
            return
        kind = answer.value.WhichOneof("kind")
        entry_info = answer.entry
        ttl = to_seconds(entry_info.ttl_remaining)
        if kind is None or ttl <= 0:
            return
        facts = Facts(
            entry_info.version, to_seconds(entry_info.age), ttl, tuple(entry_info.tags), "client"
        )
        key = identity[0]
        entry = _Entry(key, kind, getattr(answer.value, kind), facts, monotonic())
        if entry.size > self.settings.max_bytes // 2:
            return
        with self._lock:
            if not self._ready or self._changed(key, facts.tags, mark):
                return
            old = self._entries.pop(identity, None)
            if old is not None:
                self._bytes -= old.size
            self._entries[identity] = entry
            self._by_key.setdefault(key, set()).add(identity)
            self._bytes += entry.size
            limits = self.settings
            while len(self._entries) > limits.max_entries or self._bytes > limits.max_bytes:
                oldest = next(iter(self._entries))
                self._remove(oldest, self._entries[oldest])

    def _changed(self, key: str, tags: tuple[str, ...], mark: int) -> bool:
        since = self._count - mark
        if since > len(self._log):
            return True
        for index in range(len(self._log) - since, len(self._log)):
            if _names(self._log[index], key, tags):
                return True
        return False

    def _remove(self, identity: Identity, entry: _Entry) -> None:
        del self._entries[identity]
        self._bytes -= entry.size
        others = self._by_key.get(entry.key)
        if others is not None:
            others.discard(identity)
            if not others:
                del self._by_key[entry.key]

    def change(self, kind: str, what: Any) -> None:
        """Drops what a change names: `all`, a `key`, a set of `tags`, or a `glob` as a matcher."""
        with self._lock:
            self._log.append((kind, what))
            self._count += 1
            if kind == "key":
                for identity in list(self._by_key.get(what, ())):
                    self._remove(identity, self._entries[identity])
            elif kind == "all":
                self._clear()
            else:
                named = [
                    (identity, entry)
                    for identity, entry in self._entries.items()
                    if _names((kind, what), entry.key, entry.facts.tags)
                ]
                for identity, entry in named:
                    self._remove(identity, entry)

    def _clear(self) -> None:
        self._entries.clear()
        self._by_key.clear()
        self._bytes = 0

    def reset(self) -> None:
        """Drops everything, and keeps nothing until the next Ready."""
        with self._lock:
            self._lapsed = False
            self._end_use()

    def _lapse(self) -> None:
        """After a silence: drops everything, and keeps nothing until the next message."""
        with self._lock:
            if self._ready and monotonic() > self._usable_until:
                self._lapsed = True
                self._end_use()

    def _end_use(self) -> None:
        self._ready = False
        self._log.append(("all", None))
        self._count += 1
        self._clear()

    def _go_on(self) -> None:
        """After a message of the stream that was silent: none of its changes was missed."""
        with self._lock:
            if self._lapsed:
                self._lapsed = False
                self._ready = True

    def apply(self, event: Event | Heartbeat) -> None:
        """Applies an event of the feed."""
        if isinstance(event, KeysChanged):
            for each in event.keys:
                self.change("key", each.key)
        elif isinstance(event, TagsInvalidated):
            self.change("tags", frozenset(event.tags))
        elif isinstance(event, PatternInvalidated):
            self.change("glob", matcher(event.glob))
        elif isinstance(event, NamespaceInvalidated):
            self.change("all", None)
        elif isinstance(event, Reset):
            self.reset()
        elif isinstance(event, Ready):
            if not event.resumed:
                self.reset()
            self._silence = event.heartbeat + event.max_delay
            self.alive()
            self._ready = True
        self.alive()
        if self._lapsed:
            self._go_on()

    def __len__(self) -> int:
        return len(self._entries)


class _FactsAt:
    """The facts of an entry at the moment of a read."""

    __slots__ = ("_entry", "_now")

    def __init__(self, entry: _Entry, now: float) -> None:
        self._entry = entry
        self._now = now

    def facts(self) -> Facts:
        entry, now = self._entry, self._now
        known = entry.facts
        return Facts(known.version, now - entry.written, entry.expires - now, known.tags, "client")


def _names(change: tuple[str, Any], key: str, tags: tuple[str, ...]) -> bool:
    kind, what = change
    if kind == "key":
        return bool(what == key)
    if kind == "tags":
        return not what.isdisjoint(tags)
    if kind == "glob":
        return bool(what(key))
    return True


def identity_of(key: str, params: Mapping[str, str] | None) -> Identity:
    """The identity of an entry in its namespace."""
    return key, frozenset(params.items()) if params else None
