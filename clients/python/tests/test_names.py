"""Names, durations and codecs, without a server."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pickle
import typing
import uuid
from typing import Any

import pytest

from larder_cache import (
    FOREVER,
    CompressedCodec,
    DecodeError,
    EncodeError,
    InvalidArgument,
    JsonCodec,
    LarderError,
    PickleCodec,
    TypedCodec,
    Unavailable,
    register_codec,
)
from larder_cache.codecs import codec_named
from larder_cache.durations import seconds, to_seconds, ttl_to_proto
from larder_cache.names import encode_key, encode_namespace, encode_params


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("users", "users"),
        ("a.b_c-9", "a.b_c-9"),
        ("testCache", "x--testcache-31c3463f6768e21d"),
        ("a:b", "x--a-b-6783a31eabf68ccc"),
    ],
)
def test_namespaces(name: str, sent: str) -> None:
    assert encode_namespace(name) == sent


@pytest.mark.parametrize("name", ["x--a", "ÄÖ😀", "a" * 65, ".a", " ", "a\n", "İ"])
def test_encoded_namespaces_are_valid(name: str) -> None:
    sent = encode_namespace(name)
    assert sent.startswith("x--") and len(sent) <= 64 and encode_namespace(sent) != sent
    head = sent[3:].rpartition("-")[0]
    assert len(head) == min(len(name), 40)


def test_keys() -> None:
    assert encode_key("a" * 1024) == "a" * 1024
    long = encode_key("é" * 1000)
    head, _, digest = long.rpartition("#")
    assert head == "é" * 450 and len(digest) == 64
    odd = encode_key("a" + "é" * 1000)
    assert odd.rpartition("#")[0] == "a" + "é" * 449
    for bad in ("", "\ud800"):
        with pytest.raises(InvalidArgument):
            encode_key(bad)


def test_params() -> None:
    assert encode_params({"a": "1"}) == {"a": "1"}
    many = {f"p{number}": "v" for number in range(65)}
    assert list(encode_params(many)) == ["digest"]
    assert encode_params(many) == encode_params(dict(reversed(many.items())))
    assert list(encode_params({"a": "x" * 8191})) == ["a"]
    assert list(encode_params({"a": "x" * 8192})) == ["digest"]


def test_durations() -> None:
    assert seconds("1h30m") == 5400 and seconds("250ms") == 0.25 and seconds("1.5d") == 129600
    for bad in ("", "5", "m", "5 parsecs", float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="ttl"):
            seconds(bad, "ttl")
    forever: Any = ttl_to_proto(FOREVER)
    assert to_seconds(forever) == 100 * 365 * 86400
    assert ttl_to_proto(None) is None and ttl_to_proto(-5) is False
    millis: Any = ttl_to_proto(1.2345)
    assert to_seconds(millis) == 1.234
    huge: Any = ttl_to_proto(1e18)
    assert huge == forever
    assert pickle.loads(pickle.dumps(FOREVER)) is FOREVER


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, float("inf")]}, r"\$\.a\[1\]: inf is not finite"),
        ({"a": {"b": b"x"}}, r"\$\.a\.b: bytes"),
        ({1: 2}, r"\$: the name 1 is not text"),
        ([{"a": object()}], r"\$\[0\]\.a: "),
        (object(), r"\$: "),
        ("\ud800", r"\$: a lone surrogate"),
        (["\ud800"], r"\$: a lone surrogate"),
    ],
)
def test_json_refuses_what_it_would_change(value: Any, place: str) -> None:
    with pytest.raises(EncodeError, match=place):
        JsonCodec().encode(value)


def test_json_is_compact() -> None:
    assert JsonCodec().encode({"a": [1, "é"]}) == ("json", '{"a":[1,"é"]}')
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(EncodeError, match="128"):
        JsonCodec().encode(deep)


def test_pickles_are_signed() -> None:
    codec = PickleCodec("a secret of 16 bytes")
    kind, content = codec.encode({1, 2})
    assert codec.decode(kind, content) == {1, 2}
    assert PickleCodec(b"x" * 16, old_secrets=("a secret of 16 bytes",)).decode(kind, content)
    for broken in (content[:-1], content[:3] + b"x" * 32 + content[35:], pickle.dumps(1), b""):
        with pytest.raises(DecodeError):
            codec.decode("data", broken)
    with pytest.raises(DecodeError):
        codec.decode("json", "1")
    with pytest.raises(ValueError, match="16"):
        PickleCodec("short")
    with pytest.raises(EncodeError):
        codec.encode(lambda: 1)


def test_compression() -> None:
    codec = CompressedCodec()
    for value in ("x" * 5_000, b"y" * 5_000, {"a": ["z"] * 1_000}, "", 5):
        kind, content = codec.encode(value)
        assert kind == "data" and len(content) < 2_000
        assert codec.decode(kind, content) == value
    with pytest.raises(DecodeError):
        codec.decode("json", "1")


def test_registered_codecs() -> None:
    codec = PickleCodec(b"0123456789abcdef")
    register_codec("pickle", codec)
    assert codec_named("pickle") is codec
    with pytest.raises(TypeError):
        codec_named(5)  # type: ignore[arg-type]


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Inner:
    at: datetime.datetime
    color: Color = Color.RED


@dataclasses.dataclass
class Outer:
    id: uuid.UUID
    price: decimal.Decimal
    inners: list[Inner]
    tags: set[str]
    pair: tuple[int, str]
    by_name: dict[str, Inner]
    maybe: int | None = None


class Row(typing.TypedDict):
    name: str
    age: typing.NotRequired[int] if hasattr(typing, "NotRequired") else int


class Point(typing.NamedTuple):
    x: int
    y: float


def test_types() -> None:
    inner = Inner(datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc))
    outer = Outer(uuid.UUID(int=5), decimal.Decimal("1.10"), [inner], {"a"}, (1, "b"), {"x": inner})
    for kind, value in [
        (Outer, outer),
        (list[Inner], [inner]),
        (dict[str, list[int]], {"a": [1]}),
        (Point, Point(1, 2.5)),
        (Row, {"name": "a", "age": 1}),
        (Color, Color.RED),
        (int | None, None),
        (typing.Literal["a", "b"], "b"),
        (str, "text"),
        (bytes, b"data"),
        (datetime.date, datetime.date(2026, 1, 2)),
        (tuple[int, ...], (1, 2)),
    ]:
        codec = TypedCodec(kind)
        assert codec.decode(*codec.encode(value)) == value, kind
    for kind, stored in [(int, "true"), (Inner, "{}"), (list[int], '["a"]'), (Row, "[]")]:
        with pytest.raises(DecodeError):
            TypedCodec(kind).decode("json", stored)
    with pytest.raises(TypeError, match="not supported"):
        TypedCodec(threading_lock := type(__import__("threading").Lock()))
    del threading_lock


def test_pydantic_and_msgspec() -> None:
    pydantic = pytest.importorskip("pydantic")
    msgspec = pytest.importorskip("msgspec")
    user = pydantic.create_model("User", name=(str, ...), age=(int, 0))
    point = msgspec.defstruct("Point", [("x", int), ("y", int, 0)])
    for kind, value in [(user, user(name="a")), (list[user], [user(name="b", age=2)])]:
        codec = TypedCodec(kind)
        assert codec.decode(*codec.encode(value)) == value
    codec = TypedCodec(point)
    assert codec.decode(*codec.encode(point(1, 2))) == point(1, 2)
    with pytest.raises(DecodeError):
        TypedCodec(user).decode("json", '{"age":"old"}')


def test_errors_can_be_pickled() -> None:
    error = Unavailable("gone", reason="BREAKER_OPEN", retry_after=0.5)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is Unavailable and copy.retry_after == 0.5 and str(copy) == str(error)
    assert isinstance(error, LarderError) and error.outage
