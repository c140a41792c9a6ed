"""Rules of events in the fake: as in the configuration of the server, with the same results."""

from __future__ import annotations

from typing import Any

import pytest

from larder_cache import InvalidArgument
from larder_cache.testing import FakeLarder, LarderServer

CONFIG = """
[defaults]
ttl_jitter = 0.0
[[events.moved]]
namespace = "a"
pattern = "{user|old.user}:*"
[[events.moved]]
namespace = "b"
key = "{user|old.user}"
params = { view = "{view}" }
[[events.tagged]]
namespace = "a"
tags = ["user:{user}", "all"]
when = { table = "users" }
[[events.everything]]
namespace = "b"
"""
EVENTS: dict[str, Any] = {
    "moved": [
        {"namespace": "a", "pattern": "{user|old.user}:*"},
        {"namespace": "b", "key": "{user|old.user}", "params": {"view": "{view}"}},
    ],
    "tagged": {
        "namespace": "a",
        "tags": ["user:{user}", "all"],
        "when": {"table": "users"},
    },
    "everything": {"namespace": "b"},
}


@pytest.fixture(params=["server", "fake"])
def client(request: pytest.FixtureRequest) -> Any:
    if request.param == "fake":
        return FakeLarder(events=EVENTS).client(preset="local")
    server = LarderServer(CONFIG).start()
    request.addfinalizer(server.close)
    return server.client(preset="local")


def left(client: Any) -> set[str]:
    a, b = client.namespace("a"), client.namespace("b")
    found = {f"a/{key}" for key in ("7:x", "*:x", "8:x", "tagged") if a.get(key)}
    views = {view for view in ("long", "short") if b.get("7", params={"view": view})}
    return found | {f"b/{view}" for view in views}


def test_the_rules(client: Any) -> None:
    a, b = client.namespace("a"), client.namespace("b")
    for key in ("7:x", "*:x", "8:x"):
        a.set(key, 1)
    a.set("tagged", 1, tags=["user:9"])
    for view in ("long", "short"):
        b.set("7", 1, params={"view": view})
    everything = left(client)
    for attributes in ({}, {"user": "7"}, {"user": "", "view": "long"}):
        with pytest.raises(InvalidArgument, match="attributes"):
            client.publish_event("moved", attributes)
    client.publish_event("unknown", {})
    client.publish_event("tagged", {"user": "9", "table": "others"})
    assert left(client) == everything
    # A value never widens a pattern, and a second name is used if the first has no value.
    client.publish_event("moved", {"old.user": "*", "view": "x"})
    assert left(client) == everything - {"a/*:x"}
    client.publish_event("moved", {"user": "7", "old.user": "8", "view": "long"})
    assert {"a/7:x", "b/long"}.isdisjoint(left(client)) and "a/8:x" in left(client)
    client.publish_event("tagged", {"user": "9", "table": "users"})
    assert "a/tagged" not in left(client)
    client.publish_event("everything")
    assert left(client) == {"a/8:x"}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"tags": ["a"]}, "namespace"),
        ({"namespace": "a", "tag": "a"}, "'tag'"),
        ({"namespace": "a", "key": "k", "pattern": "*"}, "more than one"),
        ({"namespace": "a", "params": {"a": "b"}}, "params"),
        ({"namespace": "a", "key": "{a"}, "template"),
    ],
)
def test_rules_that_are_wrong(rule: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FakeLarder(events={"e": rule})


def test_a_rule_can_be_a_function() -> None:
    calls = []
    fake = FakeLarder(events={"e": lambda attributes: calls.append(attributes) or []})
    fake.client().publish_event("e", {"a": "b"})
    assert calls == [{"a": "b"}]
