"""The common part of both clients: options, handles, counters."""

from __future__ import annotations

import threading
from typing import Any

from larder_cache._engine.counters import NAMES
from larder_cache._engine.engine import Engine
from larder_cache._engine.handle import Handle
from larder_cache._engine.near import NearHub
from larder_cache._transport.forks import on_fork
from larder_cache.names import encode_namespace
from larder_cache.near import NearCache
from larder_cache.options import Options, Preset, make_options

# Handles that a client keeps; further ones are made anew each time.
_KEPT_HANDLES = 1000


def options_of(target: Any, preset: Preset, given: dict[str, Any]) -> tuple[Options, Any]:
    """The options of a client, and the fake that is its target, if it is one."""
    if hasattr(target, "blocking_stubs"):
        return make_options(preset, {**given, "target": "127.0.0.1:1"}), target
    if target is not None and not isinstance(target, str):
        raise TypeError(f"target must be a str or a FakeLarder, not {type(target).__name__}")
    return make_options(preset, {**given, "target": target}), None


class Session:
    """The state of a client."""

    def __init__(self, engine: Engine, blocking: bool) -> None:
        self.engine = engine
        self._blocking = blocking
        self._namespaces: dict[Any, Any] = {}
        self._start()
        on_fork(self)

    def _start(self) -> None:
        self._lock = threading.Lock()

    def before_fork(self) -> bool:
        """Nothing has to end."""
        return False

    def forked(self) -> Any:
        """In a child process."""
        self._start()
        self.engine.forked()

    def namespace(self, make: Any, name: str, settings: dict[str, Any], near: Any) -> Any:
        """The namespace with these settings; the same object for the same settings."""
        given = {key: value for key, value in settings.items() if value is not None and value != ()}
        if isinstance(given.get("tags"), list):
            given["tags"] = tuple(given["tags"])
        identity = (name, *sorted(given.items(), key=lambda item: item[0]), near)
        try:
            kept = self._namespaces.get(identity)
        except TypeError:
            # A codec without a hash.
            return make(Handle(self.engine, name, near=self._near(name, near), **given))
        if kept is None:
            with self._lock:
                kept = self._namespaces.get(identity)
                if kept is None:
                    kept = make(Handle(self.engine, name, near=self._near(name, near), **given))
                    if len(self._namespaces) < _KEPT_HANDLES:
                        self._namespaces[identity] = kept
        return kept

    def _near(self, namespace: str, near: Any) -> Any:
        if near is None or near is False:
            return None
        settings = NearCache() if near is True else near
        if not isinstance(settings, NearCache):
            raise TypeError(f"near_cache must be True or a NearCache, not {near!r}")
        hub = self.engine.near_hub
        if hub is None:
            hub = self.engine.near_hub = NearHub(self.engine, self._blocking)
        name = encode_namespace(self.engine.options.namespace_prefix + namespace)
        return hub.open(name, settings)

    def counters(self, namespace: str | None = None) -> dict[str, int]:
        """Sums of the counters."""
        if namespace is not None:
            name = encode_namespace(self.engine.options.namespace_prefix + namespace)
            return self.engine.counters_of(name).as_dict()
        everything = list(self.engine.counters.values())
        return {name: sum(getattr(each, name) for each in everything) for name in NAMES}
