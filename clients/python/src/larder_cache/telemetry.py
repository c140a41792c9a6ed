"""Telemetry by the OpenTelemetry API, if it is installed.

Each call has a span and a value in the histogram `rpc.client.call.duration`, and carries the W3C
context to the server. `larder.client.hits` and the other counters have the attribute `namespace`.
Without a provider of the application, calls do none of this.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from larder_cache._engine.counters import NAMES, Counters, counters_in
from larder_cache._transport.methods import Method
from larder_cache._version import __version__
from larder_cache.errors import LarderError

if TYPE_CHECKING:
    from larder_cache._engine.engine import Engine

_SCOPE = "larder_cache"
_SERVICE = "larder.v1.CacheService"
# Seconds between two looks at whether the application has set up a provider.
_LOOK_EVERY = 1.0

_lock = threading.Lock()
_shared: _Shared | None = None


class _Shared:
    """The instruments of the process."""

    def __init__(self, trace: Any, metrics: Any, propagate: Any) -> None:
        self.trace = trace
        self.metrics = metrics
        self.propagate = propagate
        self.tracer = trace.get_tracer(_SCOPE, __version__)
        meter = metrics.get_meter(_SCOPE, __version__)
        self.durations = meter.create_histogram(
            "rpc.client.call.duration", unit="s", description="Duration of the calls to Larder"
        )
        self.engines: weakref.WeakSet[Any] = weakref.WeakSet()
        # The counts of clients that are gone: a counter does not go back.
        self._gone: dict[str, Counters] = {}
        for name in NAMES:
            meter.create_observable_counter(
                f"larder.client.{name}", callbacks=[self._observe(name)], unit="{event}"
            )

    def add(self, engine: Engine) -> None:
        """Reports the counters of a client, also after its end."""
        self.engines.add(engine)
        weakref.finalize(engine, self._keep, engine.counters)

    def _keep(self, counters: dict[str, Counters]) -> None:
        for namespace, each in counters.items():
            counters_in(self._gone, namespace).add(each)

    def _observe(self, name: str) -> Callable[[Any], Iterable[Any]]:
        def callback(options: Any) -> Iterable[Any]:
            sums: dict[str, int] = {}
            everything = [self._gone, *(engine.counters for engine in list(self.engines))]
            for counters in everything:
                for namespace, each in list(counters.items()):
                    sums[namespace] = sums.get(namespace, 0) + getattr(each, name)
            return [
                self.metrics.Observation(count, {"namespace": namespace})
                for namespace, count in sums.items()
            ]

        return callback


def for_client(engine: Engine) -> Telemetry | None:
    """The telemetry of a client; None without an OpenTelemetry API."""
    global _shared
    with _lock:
        if _shared is None:
            try:
                from opentelemetry import metrics, propagate, trace  # pyright: ignore
            except ImportError:
                return None
            _shared = _Shared(trace, metrics, propagate)
        _shared.add(engine)
        return Telemetry(_shared)


class Telemetry:
    """The telemetry of a client."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._active = False
        self._look_at = 0.0

    def active(self) -> bool:
        """Whether the application has a provider of spans or of metrics."""
        if self._active:
            return True
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            shared = self._shared
            providers = (shared.trace.get_tracer_provider(), shared.metrics.get_meter_provider())
            self._active = any(
                type(provider).__name__.lstrip("_")
                not in (
                    "ProxyTracerProvider",
                    "ProxyMeterProvider",
                    "NoOpTracerProvider",
                    "NoOpMeterProvider",
                )
                for provider in providers
            )
        return self._active

    async def observe(
        self,
        engine: Engine,
        method: Method,
        request: Any,
        timeout: float | None,
        counters: Counters | None,
        repeat: bool,
        always: bool,
    ) -> Any:
        """One call with its span."""
        shared = self._shared
        name = f"{_SERVICE}/{method.name}"
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": name,
            "server.address": engine.options.target,
        }
        namespace = _namespace(request)
        span = shared.tracer.start_span(
            name,
            kind=shared.trace.SpanKind.CLIENT,
            attributes={**attributes, "larder.namespace": namespace} if namespace else attributes,
        )
        carrier: dict[str, str] = {}
        shared.propagate.inject(carrier, context=shared.trace.set_span_in_context(span))
        code = "OK"
        start = time.perf_counter()
        try:
            return await engine.guarded(
                method,
                request,
                timeout,
                counters,
                repeat,
                always,
                more_metadata=tuple((key.lower(), value) for key, value in carrier.items()),
            )
        except LarderError as error:
            code = error.code
            span.set_status(shared.trace.StatusCode.ERROR, str(error))
            span.set_attribute("error.type", error.reason or code)
            raise
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            attributes["rpc.response.status_code"] = code
            span.set_attribute("rpc.response.status_code", code)
            span.end()
            shared.durations.record(time.perf_counter() - start, attributes)


def _namespace(request: Any) -> str:
    direct = getattr(request, "namespace", "")
    if direct:
        return str(direct)
    for field in ("keys", "items"):
        several = getattr(request, field, None)
        if several:
            return str(several[0].namespace)
    return ""
