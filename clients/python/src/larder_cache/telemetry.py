"""Telemetry by the OpenTelemetry API, if it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from larder_cache._engine.engine import Engine


def for_client(engine: Engine) -> Any:
    """The telemetry of a client; None without an OpenTelemetry API."""
    return None
