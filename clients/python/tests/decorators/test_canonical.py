"""Canonical JSON of arguments: the contract's table, and what is refused."""

import dataclasses
import datetime
import decimal
import enum
import json
import shutil
import struct
import subprocess
import uuid
from collections import OrderedDict, namedtuple

import pydantic
import pytest

from larder_cache.decorators.canonical import NotCanonical, canonical, number


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    y: int
    x: float


class Model(pydantic.BaseModel):
    name: str
    size: int = 2


class WithKey:
    def __larder_key__(self):
        return {"id": 7}


UTC = datetime.timezone.utc

FORMS = [
    ("a", '"a"'),
    ('é\n"\\\x01\x7f', '"é\\n\\"\\\\\\u0001\x7f"'),
    (1, "1"),
    (2**70, "1180591620717411303424"),
    (1.5, "1.5"),
    (1.0, "1"),
    (-0.0, "0"),
    (1e21, "1e+21"),
    (True, "true"),
    (None, "null"),
    (b"\x01\x02", '{"$bytes":"AQI="}'),
    (bytearray(b"\x01\x02"), '{"$bytes":"AQI="}'),
    (
        datetime.datetime(2026, 11, 29, 10, tzinfo=UTC),
        '{"$datetime":"2026-11-29T10:00:00+00:00"}',
    ),
    (datetime.date(2026, 11, 29), '{"$date":"2026-11-29"}'),
    (datetime.time(10), '{"$time":"10:00:00"}'),
    (
        uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        '{"$uuid":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}',
    ),
    (decimal.Decimal("1.10"), '{"$decimal":"1.10"}'),
    ([1, 2], "[1,2]"),
    ((1, 2), "[1,2]"),
    ({2, 1}, '{"$set":[1,2]}'),
    (frozenset({10, 9}), '{"$set":[10,9]}'),
    ({"b": 1, "a": [None]}, '{"a":[null],"b":1}'),
    (OrderedDict(z=1, é=2), '{"z":1,"é":2}'),
    ({"\U0001f600": 1, "\uffff": 2}, '{"\uffff":2,"\U0001f600":1}'),
    (Point(2, 1.0), '{"x":1,"y":2}'),
    (Model(name="n"), '{"name":"n","size":2}'),
    (namedtuple("Pair", "a b")(1, 2), "[1,2]"),
    (Color.RED, '"red"'),
    (Level.LOW, "1"),
    (WithKey(), '{"id":7}'),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=[form for _, form in FORMS])
def test_the_form_of_a_type(value, form):
    assert canonical(value) == form


REFUSED = [
    (object(), "object cannot be part of a key", ""),
    (lambda: 1, "function", ""),
    (float("nan"), "nan is not a finite number", ""),
    ([1, {"a": float("inf")}], "not a finite number", "[1].a"),
    ({1: 2}, "its key 1 is of the type int", ""),
    ({"a": {"$bytes": "AQI="}}, "reserved", ".a"),
    ("\ud800", "surrogate", ""),
    ({"a": [object()]}, "ignore", ".a[0]"),
]


@pytest.mark.parametrize(("value", "reason", "path"), REFUSED)
def test_what_cannot_be_part_of_a_key_is_refused_at_its_place(value, reason, path):
    with pytest.raises(NotCanonical) as caught:
        canonical(value)
    assert reason in caught.value.reason
    assert caught.value.path == path


def test_a_value_that_contains_itself_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(NotCanonical, match="deeper than 64"):
        canonical(loop)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_numbers_are_those_of_ecmascript():
    values = [
        struct.unpack("<d", struct.pack("<Q", 0x9E3779B97F4A7C15 * n % 2**64))[0]
        for n in range(1, 3000)
    ]
    values = [v for v in values if v == v and abs(v) != float("inf")]
    values += [10.0**n for n in range(-30, 30)] + [1.5 * 10.0**n for n in range(-30, 30)]
    program = "console.log(JSON.stringify(JSON.parse(process.argv[1]).map(String)))"
    texts = subprocess.run(
        ["node", "-e", program, json.dumps(values)], capture_output=True, text=True, check=True
    )
    assert [number(value) for value in values] == json.loads(texts.stdout)
