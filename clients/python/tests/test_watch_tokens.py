"""Tokens of `watch`: a callable that fails for a while, and a token that is refused."""

from __future__ import annotations

from typing import Any

import pytest
from setups import Setup, until

from larder_cache import Unauthenticated
from larder_cache.events import Ready, Reset


def test_a_callable_that_fails_is_an_outage(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    asked: list[int] = []

    def token() -> tuple[str, float]:
        asked.append(1)
        if len(asked) == 2:
            raise OSError("the issuer is away")
        return "token", 0.0

    events = on_fake.client(token=token).namespace("a").watch()
    assert isinstance(next(events), Ready)
    fake.fail("UNAVAILABLE", times=1)
    found = [next(events) for _ in range(2)]
    assert found == [Reset("DISCONNECTED")] * 2
    until(lambda: isinstance(next(events), Ready))
    assert len(asked) > 2
    events.close()


def test_a_refused_token_is_replaced_once(on_fake: Setup) -> None:
    fake: Any = on_fake.fake
    made = iter(f"token{number}" for number in range(100))
    client = on_fake.client(token=lambda: (next(made), 60.0))
    events = client.namespace("a").watch()
    assert isinstance(next(events), Ready)
    for _ in range(2):
        # Each Ready permits another one.
        fake.fail("UNAUTHENTICATED", times=1, methods=("Watch",))
        fake.fail("UNAVAILABLE", times=1)
        until(lambda: isinstance(next(events), Ready))
    fake.fail("UNAUTHENTICATED")
    with pytest.raises(Unauthenticated):
        while True:
            next(events)
