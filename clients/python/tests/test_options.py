"""Options of clients: each is a parameter, is documented, and is checked."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from setups import Setup

from larder_cache import AsyncClient, Client, LarderError
from larder_cache.options import Options

NAMES = [field.name for field in dataclasses.fields(Options)]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_each_option_is_a_parameter_and_documented(kind: type) -> None:
    parameters = inspect.signature(kind).parameters
    assert set(NAMES) == set(parameters) - {"preset"}
    for name in parameters:
        assert f"`{name}`" in (kind.__doc__ or ""), name


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("keepalive_timeout", 0),
        ("keepalive_timeout", "soon"),
        ("keepalive_time", -1),
        ("max_receive_bytes", 0),
        ("max_receive_bytes", "4MiB"),
        ("background_limit", 0),
        ("background_limit", 1.5),
        ("namespace_prefix", 7),
        ("user_agent", b"x"),
        ("schema_version", 7),
        ("ca_file", 7),
        ("token", 7),
        ("token", ""),
        ("token", "two\nlines"),
    ],
)
def test_wrong_options_name_themselves(option: str, value: Any) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises((TypeError, ValueError), match=option):
            kind(**{option: value})


def test_keepalive() -> None:
    assert Client(keepalive_timeout="3s").options.keepalive_timeout == 3
    assert Client(preset="local").options.keepalive_time is None


def test_files_can_be_paths() -> None:
    assert Client(ca_file=Path("/ca.pem")).options.ca_file == "/ca.pem"  # type: ignore[arg-type]


def no_token_server() -> str:
    raise ConnectionError("no token server")


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (no_token_server, "no token server"),
        (lambda: None, "not a text"),
        (lambda: "", "printable ASCII"),
        (lambda: "a\nb", "printable ASCII"),
    ],
)
def test_a_token_that_cannot_be_had_is_an_outage(on_fake: Setup, token: Any, problem: str) -> None:
    ns = on_fake.client(token=token).namespace("a")
    result = ns.get("k")
    assert result.degraded and result.error.reason == "NO_TOKEN"
    assert ns.get_or_fetch("k", lambda: 1).value == 1
    with pytest.raises(LarderError, match=problem):
        ns.delete("k")


def test_counters_have_a_bound(on_fake: Setup) -> None:
    client = on_fake.client()
    for number in range(1010):
        client.namespace(f"ns-{number}").get("k")
    assert client.counters("ns-0")["misses"] == client.counters("ns-999")["misses"] == 1
    # Those beyond the bound are together, also with those of a second handle.
    client.namespace("ns-1009", ttl=5).get("k")
    assert client.counters("_other")["misses"] == 11
    assert client.counters("ns-1009")["misses"] == 0
    assert client.counters()["misses"] == 1011
