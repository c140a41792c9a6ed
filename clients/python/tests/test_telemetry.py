"""Telemetry: spans, metrics and context, in a process of its own per case."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("opentelemetry.sdk")

SDK = """
    import asyncio
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    tracer = trace.get_tracer("test")

    def points(name):
        found = []
        for resource in reader.get_metrics_data().resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        found.extend(metric.data.data_points)
        return found
"""


def run_script(body: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_spans_metrics_and_context(kind: str) -> None:
    body = (
        SDK
        + f"""
    KIND = {kind!r}
    """
        + """
    import gc
    from larder_cache import InvalidArgument, PermissionDenied
    from larder_cache.testing import FakeLarder

    fake = FakeLarder()
    client = fake.client() if KIND == "threads" else fake.async_client()
    ns = client.namespace("shop")

    def run(call):
        if KIND == "threads":
            return call()
        async def awaited():
            return await call()
        return asyncio.run(awaited())

    with tracer.start_as_current_span("parent") as parent:
        run(lambda: ns.get("k"))
    (get, outer) = spans.get_finished_spans()
    assert get.name == "larder.v1.CacheService/Get" and get.kind is trace.SpanKind.CLIENT
    assert get.parent.span_id == parent.get_span_context().span_id
    assert get.attributes["larder.namespace"] == "shop"
    assert get.attributes["rpc.response.status_code"] == "OK"
    metadata = dict(fake.calls[0][2])
    trace_id = format(parent.get_span_context().trace_id, "032x")
    span_id = format(get.context.span_id, "016x")
    assert metadata["traceparent"].startswith(f"00-{trace_id}-{span_id}-"), metadata

    run(lambda: ns.set("k", 1))
    run(lambda: ns.get("k"))
    run(lambda: ns.get_or_fetch("f", lambda: 1))
    fake.fail("PERMISSION_DENIED", times=1)
    spans.clear()
    try:
        run(lambda: ns.get("k"))
    except PermissionDenied:
        pass
    (failed,) = spans.get_finished_spans()
    assert failed.attributes["rpc.response.status_code"] == "PERMISSION_DENIED"
    assert failed.status.status_code is trace.StatusCode.ERROR

    durations = points("rpc.client.call.duration")
    by_method = {}
    for point in durations:
        method = point.attributes["rpc.method"]
        by_method[method] = by_method.get(method, 0) + point.count
    assert by_method["larder.v1.CacheService/Get"] == 3, by_method
    hits = [p for p in points("larder.client.hits") if p.attributes["namespace"] == "shop"]
    assert [p.value for p in hits] == [1]
    assert [p.value for p in points("larder.client.loads")] == [1]
    assert [p.value for p in points("larder.client.misses")] == [2]
    # The counts of a client that is gone stay.
    if KIND == "threads":
        client.close()
        del client, ns
        gc.collect()
        assert [p.value for p in points("larder.client.hits")] == [1]
    print("done")
    """
    )
    assert "done" in run_script(body)


def test_without_a_provider_calls_do_nothing_of_it() -> None:
    body = """
        from larder_cache.testing import FakeLarder

        fake = FakeLarder()
        client = fake.client()
        client.namespace("a").get("k")
        assert fake.calls[0][2] == ()
        assert not client._engine.telemetry.active()
        print("done")
    """
    assert "done" in run_script(body)


def test_without_the_api() -> None:
    body = """
        import sys
        sys.modules["opentelemetry"] = None
        from larder_cache.testing import FakeLarder

        client = FakeLarder().client()
        assert client.namespace("a").set("k", 1) and client._engine.telemetry is None
        print("done")
    """
    assert "done" in run_script(body)
