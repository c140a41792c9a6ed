"""A cache in the process, with the calls of the server, for unit tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import grpc

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._transport.stubs import Stubs
from larder_cache.aio import AsyncClient
from larder_cache.client import Client
from larder_cache.durations import seconds as seconds_of
from larder_cache.testing import _checks as checks
from larder_cache.testing._calls import Calls, Context
from larder_cache.testing._errors import FakeRpcError
from larder_cache.testing._events import Rules, rule_of
from larder_cache.testing._fetches import Fetches, Origin
from larder_cache.testing._store import Policy, Store, digest_of
from larder_cache.testing._stubs import HEARTBEAT, STREAMS, AsyncioStub, BlockingStub, NoAdmin
from larder_cache.testing._whole import Whole

__all__ = ["FakeLarder", "Policy"]


class FakeLarder:
    """A fake of the server, for clients of the same process, also of several threads and loops.

        fake = FakeLarder()
        client = fake.client()

    `policy` has the settings of all namespaces, and `namespaces` those of single ones; `origins`
    are the origins of namespaces, functions of key and params; None is the absence of a value.
    `events` maps the name of an event to a rule as in the configuration of the server, such as
    `{"namespace": "users", "tags": ["user:{id}"]}`, to several, or to a function from its
    attributes to targets. The fake has no jitter of TTLs, no limits on memory and no statistics of
    events.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        namespaces: Mapping[str, Policy] | None = None,
        origins: Mapping[str, Origin] | None = None,
        events: Mapping[str, Rules] | None = None,
    ) -> None:
        self._store = Store(policy or Policy(), namespaces or {})
        self._calls = Calls(self._store)
        whole = Whole(
            self._calls, {name: rule_of(name, rules) for name, rules in (events or {}).items()}
        )
        self._fetches = Fetches(self._calls, origins or {})
        self._handlers: dict[str, Callable[[Any, Context], Any]] = {
            "Get": self._calls.get,
            "Set": self._calls.set,
            "Delete": self._calls.delete,
            "InvalidateNamespace": whole.invalidate_namespace,
            "Invalidate": whole.invalidate,
            "Stats": whole.stats,
            "BatchGet": self._calls.batch_get,
            "BatchSet": self._calls.batch_set,
            "BatchDelete": self._calls.batch_delete,
            "Touch": self._calls.touch,
            "Increment": self._calls.increment,
            "Patch": self._calls.patch,
            "ListKeys": whole.list_keys,
            "CountKeys": whole.count_keys,
            "GetOrFetch": self._fetches.get_or_fetch,
            "BatchGetOrFetch": self._fetches.batch_get_or_fetch,
            "Renew": self._fetches.renew,
            "Abandon": self._fetches.abandon,
        }
        self._failures: list[_Failure] = []
        self._watches: set[_Watch] = set()
        self.calls: list[tuple[str, Any, tuple[tuple[str, str], ...]]] = []
        """All calls so far: the method, the request and the metadata."""

    @property
    def methods(self) -> list[str]:
        """The unary methods, and those whose answers are short streams."""
        return list(self._handlers)

    # Time.

    def now(self) -> float:
        """The time of the fake, in seconds."""
        return self._store.clock.now()

    def advance(self, duration: float | timedelta | str) -> None:
        """Moves the time forward: entries and leases grow older at once."""
        with self._store.changed:
            self._store.clock.move(seconds_of(duration, "duration"))
            self._store.wake()

    def freeze(self) -> None:
        """Stops the time: only `advance` moves it from now on."""
        self._store.clock.freeze()

    # Failures.

    def fail(
        self,
        code: str = "UNAVAILABLE",
        *,
        reason: str = "",
        message: str = "a failure of the fake",
        methods: tuple[str, ...] = (),
        times: int | None = None,
    ) -> None:
        """Lets calls fail: of some methods or all, the next `times` or until `heal`.

        Without `methods`, streams of Watch end, too.
        """
        if code not in grpc.StatusCode.__members__ or code == "OK":
            raise ValueError(f"code must be the name of an error of gRPC, not {code!r}")
        self._check_methods(methods)
        self._failures.append(_Failure(methods, times, code, reason, message, 0.0))
        if not methods:
            for watch in list(self._watches):
                watch.put(FakeRpcError(code, message, reason))

    def slow(
        self,
        delay: float | timedelta | str,
        *,
        methods: tuple[str, ...] = (),
        times: int | None = None,
    ) -> None:
        """Delays calls, until `heal`. Those with a shorter deadline are DEADLINE_EXCEEDED."""
        self._check_methods(methods)
        number = seconds_of(delay, "delay")
        self._failures.append(_Failure(methods, times, "", "", "", number))

    def degrade(self) -> None:
        """Lets the store be away: answers are `degraded`, deletions are `UNAVAILABLE`."""
        with self._store.changed:
            self._calls.degraded = True
            self._store.wake()
        self.reset_watches("STORE_UNAVAILABLE", ready=False)

    def heal(self) -> None:
        """Ends all failures."""
        self._failures.clear()
        degraded, self._calls.degraded = self._calls.degraded, False
        if degraded:
            for watch in list(self._watches):
                watch.put(watch.ready())

    def _check_methods(self, methods: Any) -> None:
        if isinstance(methods, str):
            raise TypeError("methods must be a tuple of names")
        for name in methods:
            if name not in self._handlers and name != "Watch":
                raise ValueError(f"there is no method {name!r}")

    def reset_watches(self, reason: str = "FEED_LOST", *, ready: bool = True) -> None:
        """Sends Reset to all streams of Watch, and then Ready."""
        for watch in list(self._watches):
            watch.put(pb.WatchResponse(reset=pb.Reset(reason=f"RESET_REASON_{reason}")))
            if ready:
                watch.put(watch.ready())

    # Contents.

    def put_negative(
        self, namespace: str, key: str, params: Mapping[str, str] | None = None, ttl: float = 60.0
    ) -> None:
        """Caches the absence of a value, as an origin does."""
        with self._store.changed:
            self._store.write((namespace, key, digest_of(params or {})), None, ttl)

    def clear(self) -> None:
        """Forgets all entries, leases and calls."""
        with self._store.changed:
            self._store.entries.clear()
            self._store.leases.clear()
            self._store.backoffs.clear()
            self._store.wake()
        self.calls.clear()
        self.reset_watches("STORE_FLUSHED")

    def count(self, method: str) -> int:
        """The number of calls of a method so far."""
        return sum(call[0] == method for call in self.calls)

    # Clients.

    def client(self, **options: Any) -> Client:
        """A client of this fake."""
        return Client(self, **options)

    def async_client(self, **options: Any) -> AsyncClient:
        """An asyncio client of this fake."""
        return AsyncClient(self, **options)

    def blocking_stubs(self) -> Stubs:
        """Stubs that block."""
        return Stubs(BlockingStub(self), NoAdmin(), lambda: None)

    def asyncio_stubs(self) -> Stubs:
        """Stubs of asyncio."""
        return Stubs(AsyncioStub(self), NoAdmin(), lambda: None)

    # Calls.

    def _begin(self, method: str, request: Any, timeout: float | None, metadata: Any) -> _Call:
        sent = tuple(metadata or ())
        copy = type(request)()
        copy.CopyFrom(request)
        self.calls.append((method, copy, sent))
        delay, error = 0.0, None
        for failure in list(self._failures):
            if failure.methods and method not in failure.methods:
                continue
            if failure.times is not None:
                failure.times -= 1
                if failure.times <= 0:
                    self._failures.remove(failure)
            delay += failure.delay
            if failure.code:
                error = FakeRpcError(failure.code, failure.message, failure.reason)
                break
        version = dict(sent).get("larder-schema-version", "")
        deadline = None if timeout is None else time.monotonic() + timeout
        return _Call(copy, Context(version, deadline), delay, error)

    def _deadline_passed(self, call: _Call) -> bool:
        deadline = call.context.deadline
        return deadline is not None and time.monotonic() >= deadline

    def run_blocking(self, method: str, request: Any, timeout: float | None, metadata: Any) -> Any:
        """One call of a thread."""
        call = self._begin(method, request, timeout, metadata)
        if call.delay:
            time.sleep(call.delay if timeout is None else min(call.delay, timeout))
        self._check(call)
        changed = self._store.changed
        with changed:
            answer = self._handlers[method](call.request, call.context)
            if method not in ("GetOrFetch", "BatchGetOrFetch"):
                return list(answer) if method in STREAMS else answer
            try:
                while True:
                    left = next(answer)
                    # The clock of the fake may pass the end of a lease without a change.
                    changed.wait(min(left, 0.05))
            except StopIteration as done:
                return done.value

    async def run_asyncio(
        self, method: str, request: Any, timeout: float | None, metadata: Any
    ) -> Any:
        """One call of a task."""
        call = self._begin(method, request, timeout, metadata)
        await asyncio.sleep(call.delay if timeout is None else min(call.delay, timeout))
        self._check(call)
        store = self._store
        with store.changed:
            answer = self._handlers[method](call.request, call.context)
            if method not in ("GetOrFetch", "BatchGetOrFetch"):
                return list(answer) if method in STREAMS else answer
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)

        store.add_waker(wake)
        try:
            while True:
                changed.clear()
                with store.changed:
                    left = next(answer)
                try:
                    await asyncio.wait_for(changed.wait(), min(left, 0.05))
                except asyncio.TimeoutError:
                    pass
        except StopIteration as done:
            return done.value
        finally:
            store.remove_waker(wake)

    def _check(self, call: _Call) -> None:
        if call.error is not None:
            raise call.error
        if call.delay and self._deadline_passed(call):
            raise FakeRpcError("DEADLINE_EXCEEDED", "Deadline Exceeded")

    def open_watch(self, request: pb.WatchRequest, metadata: Any, put: Any) -> _Watch:
        """A stream of changes, which go to `put`."""
        call = self._begin("Watch", request, None, metadata)
        watch = _Watch(self, call.request, put)
        if call.error is not None:
            watch.put(call.error)
            return watch
        for name in request.namespaces:
            checks.check_namespace(name, "namespaces[0]")
        with self._store.changed:
            if not self._calls.degraded:
                watch.put(watch.ready())
            watch.unlisten = self._store.listen(watch.change)
        self._watches.add(watch)
        return watch

    def close_watch(self, watch: _Watch) -> None:
        """Ends a stream of changes."""
        self._watches.discard(watch)
        unlisten, watch.unlisten = watch.unlisten, None
        if unlisten is not None:
            with self._store.changed:
                unlisten()


class _Failure:
    def __init__(
        self,
        methods: tuple[str, ...],
        times: int | None,
        code: str,
        reason: str,
        message: str,
        delay: float,
    ) -> None:
        self.methods = methods
        self.times = times
        self.code = code
        self.reason = reason
        self.message = message
        self.delay = delay


class _Call:
    def __init__(self, request: Any, context: Context, delay: float, error: Any) -> None:
        self.request = request
        self.context = context
        self.delay = delay
        self.error: FakeRpcError | None = error


class _Watch:
    def __init__(self, fake: FakeLarder, request: pb.WatchRequest, put: Any) -> None:
        self.fake = fake
        self._namespaces = set(request.namespaces)
        self._keys = request.keys
        self.put: Callable[[Any], None] = put
        self.unlisten: Callable[[], None] | None = None

    def ready(self) -> pb.WatchResponse:
        ready = pb.Ready(resume_token=b"fake", heartbeat=checks.to_proto(HEARTBEAT))
        ready.max_delay.seconds = 1
        return pb.WatchResponse(ready=ready)

    def change(self, event: pb.WatchResponse) -> None:
        kind = event.WhichOneof("event")
        if kind is None or (kind == "keys_changed" and not self._keys):
            return
        if getattr(event, kind).namespace in self._namespaces:
            self.put(event)
