"""The fake of `larder_cache.testing` as the server of a case."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from google.protobuf.json_format import MessageToDict

from larder_cache.testing import FakeLarder, Policy

# Delay of the calls of a paused server: longer than all deadlines.
_PAUSE = 3600.0


def _policies(configuration: dict[str, Any]) -> dict[str, Policy]:
    times = {
        "ttl",
        "max_ttl",
        "stale_while_revalidate",
        "stale_if_error",
        "lease_ttl",
        "lease_wait",
        "abandon_backoff",
    }
    known = {field.name for field in dataclasses.fields(Policy)}
    return {
        name: Policy(
            **{
                setting: value / 1000 if setting in times else value
                for setting, value in {**configuration[""], **settings}.items()
                if setting in known
            }
        )
        for name, settings in configuration.items()
    }


class FakeServer:
    """A fake for one case."""

    features = frozenset({"server", "calls", "near_cache", "pass_on"})

    def __init__(self, configuration: dict[str, Any], events: dict[str, Any]) -> None:
        policies = _policies(configuration)
        self.fake = FakeLarder(
            policies.pop(""),
            namespaces=policies,
            events=events,
        )
        # The runner asks it for calls and for the state of the server.
        self.control = self

    def target(self, via: str, target: str | None) -> Any:
        """The fake, as the target of a client."""
        return self.fake if target is None else target

    async def advance(self, time_passed: float) -> None:
        """Moves the clock of the fake, and lets callers run."""
        self.fake.advance(time_passed)
        await asyncio.sleep(0.02)

    def server(self, state: str) -> None:
        """The fake is away, or answers again."""
        self.fake.heal()
        if state == "stop":
            self.fake.fail("UNAVAILABLE", message="the fake is stopped")
        elif state == "pause":
            self.fake.slow(_PAUSE)

    def do(self, command: str, **arguments: Any) -> Any:
        """The calls that the fake has received."""
        if command != "calls":
            raise ValueError(f"the fake has no {command}")
        method = arguments.get("method")
        calls = [
            {
                "method": name,
                "request": MessageToDict(request, preserving_proto_field_name=True),
            }
            for name, request, _ in list(self.fake.calls)
            if method in (None, name)
        ]
        return {"count": len(calls), "calls": calls}

    def restore(self) -> None:
        """Ends all failures."""
        self.fake.heal()
