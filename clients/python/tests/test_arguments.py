"""Wrong arguments: the same error with a server, without one, and with the fake."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from setups import Loop, Setup

from larder_cache import InvalidArgument, Key, LarderError, Loaded
from larder_cache.testing import FakeLarder, LarderServer

SURROGATE = "\ud800"
NOT_A_DURATION: list[Any] = ["soon", True, float("nan"), float("inf"), [], b"5"]
NEGATIVE = [*NOT_A_DURATION, -1]
NO_TTL_LEFT = [*NEGATIVE, 0]
KEYS: list[Any] = ["", 7, None, b"k", SURROGATE]
SEVERAL: list[Any] = ["k", 7, None, [7], [""], ["a", ""], [None], [SURROGATE], [[]]]
SEVERAL += [Key("k"), [Key("")], [Key("k", {"": "x"})]]
TAGS: list[Any] = ["text", b"text", 7, [7], [""], ["x" * 129], [SURROGATE]]
TOO_MANY_TAGS = [[str(number) for number in range(33)]]
PARAMS: list[Any] = [{"": "x"}, {"a": 7}, {7: "a"}, "text", [("a", "b")], 7, {"a": SURROGATE}]
VERSIONS: list[Any] = ["", 7, b"x", SURROGATE]
GLOBS: list[Any] = ["[", "a\\", "x" * 1025, "*?" * 17, 7, None, SURROGATE]
HOLD_OFFS = [*NEGATIVE, "61m"]
JSON_PATCHES: list[Any] = ["x", {"op": "add"}, [7], [{"op": "no", "path": ""}], [{"op": "add"}]]
JSON_PATCHES += [[{"op": "add", "path": "x", "value": 1}], [{"op": "move", "path": "/a"}]]
JSON_PATCHES += [[{"op": "remove", "path": "/~2"}], [float("nan")]]
INTEGERS: list[Any] = ["x", 1.5, True, 2**63, None]

Call = Callable[[Any, Any], Any]
KEYED: dict[str, Callable[..., Any]] = {
    "get": lambda ns, key="k", **more: ns.get(key, **more),
    "contains": lambda ns, key="k", **more: ns.contains(key, **more),
    "set": lambda ns, key="k", **more: ns.set(key, 1, **more),
    "set without ttl": lambda ns, key="k", **more: ns.set(key, 1, ttl=0, if_absent=True, **more),
    "delete": lambda ns, key="k", **more: ns.delete(key, **more),
    "touch": lambda ns, key="k", **more: ns.touch(key, **{"ttl": 5, **more}),
    "increment": lambda ns, key="n", **more: ns.increment(key, **more),
    "patch": lambda ns, key="j", **more: ns.patch(key, {"a": 1}, **more),
    "get_or_fetch": lambda ns, key="k", **more: ns.get_or_fetch(key, lambda: 1, **more),
    "get_or_fetch alone": lambda ns, key="k", **more: ns.get_or_fetch(key, **more),
}
BATCHED: dict[str, Callable[..., Any]] = {
    "get_many": lambda ns, keys=("k",), **more: ns.get_many(keys, **more),
    "delete_many": lambda ns, keys=("k",): ns.delete_many(keys),
    "get_or_fetch_many": lambda ns, keys=("k",), loader=lambda missing: {}, **more: (
        ns.get_or_fetch_many(keys, loader, **more)
    ),
    "invalidate": lambda ns, keys=("k",), **more: ns.invalidate(keys=keys, **more),
    "set_many": lambda ns, **more: ns.set_many({"k": 1}, **more),
}


def _cases() -> Iterator[tuple[str, str, Any, Call]]:
    def option(operation: str, name: str, values: list[Any]) -> Iterator[Any]:
        call = {**KEYED, **BATCHED}[operation]
        for value in values:
            yield operation, name, value, lambda ns, value: call(ns, **{name: value})

    def each(operation: str, name: str, values: list[Any], call: Call) -> Iterator[Any]:
        for value in values:
            yield operation, name, value, call

    for operation in KEYED:
        yield from option(operation, "key", KEYS)
        yield from option(operation, "params", PARAMS)
    for operation in BATCHED:
        if operation != "set_many":
            yield from option(operation, "keys", SEVERAL)
    for operation, name, values in [
        ("get", "max_stale", NEGATIVE),
        ("get", "touch", NEGATIVE),
        ("set", "ttl", NOT_A_DURATION),
        ("set", "tags", TAGS + TOO_MANY_TAGS),
        ("set without ttl", "tags", TAGS + TOO_MANY_TAGS),
        ("set", "if_version", VERSIONS),
        ("delete", "if_version", VERSIONS),
        ("delete", "hold_off", HOLD_OFFS),
        ("touch", "ttl", NO_TTL_LEFT),
        ("increment", "ttl", NO_TTL_LEFT),
        ("increment", "delta", INTEGERS),
        ("increment", "initial", INTEGERS),
        ("patch", "ttl", NO_TTL_LEFT),
        ("patch", "if_version", VERSIONS),
        ("get_or_fetch", "ttl", NOT_A_DURATION),
        ("get_or_fetch", "tags", TAGS + TOO_MANY_TAGS),
        ("get_or_fetch", "timeout", NEGATIVE),
        ("get_or_fetch", "max_stale", NEGATIVE),
        ("get_many", "max_stale", NEGATIVE),
        ("get_many", "touch", NEGATIVE),
        ("get_or_fetch_many", "ttl", NOT_A_DURATION),
        ("get_or_fetch_many", "tags", TAGS + TOO_MANY_TAGS),
        ("get_or_fetch_many", "timeout", NEGATIVE),
        ("get_or_fetch_many", "max_stale", NEGATIVE),
        ("get_or_fetch_many", "loader", [7, "x"]),
        ("set_many", "ttl", NOT_A_DURATION),
        ("set_many", "tags", TAGS + TOO_MANY_TAGS),
        ("invalidate", "tags", TAGS),
        ("invalidate", "globs", ["text", 7, [""], *([glob] for glob in GLOBS)]),
        ("invalidate", "hold_off", HOLD_OFFS),
    ]:
        yield from option(operation, name, values)
    values = [float("nan"), {"a": b"x"}, {1: 2}, object(), SURROGATE, {"a": [SURROGATE]}]
    yield from each("set", "value", values, lambda ns, value: ns.set("k", value))
    yield from each("set_many", "value", values, lambda ns, value: ns.set_many({"k": value}))
    items = ["k", 7, None, [7], {"": 1}, {7: 1}, [("a", 1, 2)], {Key("k", {"": "x"}): 1}]
    yield from each("set_many", "items", items, lambda ns, value: ns.set_many(value))
    conditions = [{"if_absent": True, "if_present": True}, {"if_absent": True, "if_version": "x"}]
    yield from each("set", "if_", conditions, lambda ns, value: ns.set("k", 1, **value))
    documents = [float("nan"), object(), b"x", SURROGATE]
    yield from each("patch", "", documents, lambda ns, value: ns.patch("j", value))
    yield from each("patch", "", JSON_PATCHES, lambda ns, value: ns.patch("j", json_patch=value))
    both = [{}, {"merge": {}, "json_patch": []}, {"merge": {}, "ttl": 5, "keep_ttl": True}]
    yield from each("patch", "", both, lambda ns, value: ns.patch("j", **value))
    yield from each("get_or_fetch", "loader", [7], lambda ns, value: ns.get_or_fetch("k", value))
    names = ["", 7, None, b"x", "a\nb", "x" * 256, SURROGATE]
    yield from each("publish_event", "name", names, lambda ns, value: ns.publish_event(value))
    attributes = [{"a": 7}, {7: "a"}, {"": "a"}, {"x" * 129: "a"}, {"a": "x" * 1025}]
    attributes += ["x", 7, [("a", "b")], {"a": SURROGATE}, dict.fromkeys(map(str, range(65)), "")]
    yield from each(
        "publish_event", "attributes", attributes, lambda ns, value: ns.publish_event("e", value)
    )
    yield from each("list_keys", "glob", GLOBS, lambda ns, value: list(ns.list_keys(value)))
    yield from each("count_keys", "glob", GLOBS, lambda ns, value: ns.count_keys(value))
    sizes = ["x", 1.5, -1, 2**32, True]
    yield from each(
        "list_keys", "page_size", sizes, lambda ns, value: list(ns.list_keys(page_size=value))
    )


CASES = list(_cases())
# Words of the error, if they are not the name of the argument. `$` is a place in a value.
WORDS = {
    "keys": ("key", "params"),
    "items": ("items", "key", "params"),
    "value": ("$",),
    "": ("json_patch", "merge", "keep_ttl", "$"),
}


class Places:
    """The same namespace with a server, without one, and with the fake."""

    def __init__(self, kind: str, server: LarderServer, loop: Loop) -> None:
        self._setups = [Setup(kind, server, loop), Setup(kind, FakeLarder(), loop)]
        clients = {
            "server": self._setups[0].client(preset="local"),
            "none": self._setups[0].client(target="127.0.0.1:1", call_timeout=0.2),
            "fake": self._setups[1].client(preset="local"),
        }
        self.namespaces = {name: client.namespace("arguments") for name, client in clients.items()}

    def close(self) -> None:
        for setup in self._setups:
            setup.close()


@pytest.fixture(scope="module", params=["threads", "asyncio"])
def places(request: pytest.FixtureRequest, server: LarderServer, loop: Loop) -> Iterator[Places]:
    made = Places(request.param, server, loop)
    yield made
    made.close()


@pytest.mark.parametrize("operation", list(dict.fromkeys(case[0] for case in CASES)))
def test_an_error_does_not_depend_on_the_server(places: Places, operation: str) -> None:
    for _, name, value, call in (case for case in CASES if case[0] == operation):
        errors = {}
        for place, namespace in places.namespaces.items():
            with pytest.raises((TypeError, ValueError)) as caught:
                pytest.fail(f"{operation} took {name}={value!r}: {call(namespace, value)!r}")
            error = errors[place] = caught.value
        about = f"{operation} {name}={value!r}: {errors}"
        assert len({(type(error), str(error)) for error in errors.values()}) == 1, about
        assert any(word in str(error) for word in WORDS.get(name, (name,))), about


def test_arguments_of_all_chunks_are_checked_before_the_first_call(places: Places) -> None:
    keys = [*(f"k{number}" for number in range(1500)), ""]
    namespace = places.namespaces["fake"]
    namespace.set("k0", 1)
    for call in (namespace.get_many, namespace.delete_many):
        with pytest.raises(InvalidArgument):
            call(keys)
    with pytest.raises(InvalidArgument):
        namespace.get_or_fetch_many(keys, lambda missing: pytest.fail("it computes"))
    with pytest.raises(InvalidArgument):
        namespace.set_many(dict.fromkeys(keys, 2))
    assert namespace.get("k0").value == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"tags": "text"}, "tags"),
        ({"tags": [7]}, "tags"),
        ({"tags": 7}, "tags"),
        ({"tags": [SURROGATE]}, "tags"),
    ],
)
def test_what_a_loader_returns_is_checked_in_it(options: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        Loaded(1, **options)


def test_a_codec_that_fails(places: Places) -> None:
    class Failing:
        def encode(self, value: Any) -> Any:
            raise ZeroDivisionError("in the codec")

        def decode(self, kind: str, content: Any) -> Any:
            return content

    class Odd(Failing):
        def encode(self, value: Any) -> Any:
            return "number", 7

    for codec, namespace in itertools.product((Failing(), Odd()), places.namespaces.values()):
        handle = namespace._inner._handle if hasattr(namespace, "_inner") else namespace._handle
        before, handle.codec = handle.codec, codec
        try:
            with pytest.raises(LarderError) as caught:
                namespace.set("k", 1)
            assert caught.value.code == "INVALID_ARGUMENT"
            result = namespace.get_or_fetch("codec", lambda: 5, refresh=True)
            assert result.value == 5
            assert result.stored.reason in ("NOT_ENCODABLE", "UNAVAILABLE")
        finally:
            handle.codec = before
