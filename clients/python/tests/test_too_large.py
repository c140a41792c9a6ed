"""Messages and values over a limit are mistakes of the caller, and no outages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from setups import Setup

from larder_cache import ResourceExhausted

TOO_MUCH = b"x" * (5 << 20)
WRITES: dict[str, Callable[[Any], Any]] = {
    "set": lambda ns: ns.set("k", TOO_MUCH),
    "set_many": lambda ns: ns.set_many({"k": TOO_MUCH}),
    "patch": lambda ns: ns.patch("k", {"a": TOO_MUCH.decode()}),
}


@pytest.mark.parametrize("write", list(WRITES))
def test_a_message_over_the_limit_of_the_server(on_server: Setup, write: str) -> None:
    ns = on_server.client(preset="local").namespace("large")
    # More often than outages that open the breaker.
    for _ in range(6):
        with pytest.raises(ResourceExhausted) as caught:
            WRITES[write](ns)
        assert caught.value.reason == "MESSAGE_TOO_LARGE" and not caught.value.outage
    assert ns.set("k2", 1) and ns.get("k2").value == 1


def test_an_answer_over_the_limit_of_the_client(on_server: Setup) -> None:
    assert on_server.client(preset="local").namespace("large").set("answer", b"x" * 5000)
    client = on_server.client(preset="local", max_receive_bytes=4096)
    ns = client.namespace("large")
    for _ in range(6):
        with pytest.raises(ResourceExhausted) as caught:
            ns.get("answer")
        assert caught.value.reason == "MESSAGE_TOO_LARGE" and not caught.value.outage
    assert not ns.get("another").degraded and client.counters()["fail_open"] == 0


def test_a_fill_over_the_limit_is_not_stored(on_server: Setup) -> None:
    ns = on_server.client(preset="local").namespace("large")
    keys = [f"{on_server.kind}-{number}" for number in range(3)]
    result = ns.get_or_fetch(keys[0], lambda: TOO_MUCH)
    assert result.value == TOO_MUCH and result.stored.reason == "NOT_STORED"
    large, small = keys[1:]
    many = ns.get_or_fetch_many([large, small], lambda _: {large: TOO_MUCH, small: 1})
    assert many[large].value == TOO_MUCH and many[large].stored.reason == "NOT_STORED"
    assert many[small].stored
