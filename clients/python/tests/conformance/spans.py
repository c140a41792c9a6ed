"""Spans of the program around calls, if the SDK of OpenTelemetry is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

try:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
except ImportError:
    SPAN_FEATURES: frozenset[str] = frozenset()
else:
    SPAN_FEATURES = frozenset({"tracing"})
    trace.set_tracer_provider(TracerProvider())


@contextlib.contextmanager
def in_span() -> Iterator[str]:
    """Makes a span, and yields its trace id as the header has it."""
    with trace.get_tracer("conformance").start_as_current_span("case") as span:
        yield trace.format_trace_id(span.get_span_context().trace_id)
