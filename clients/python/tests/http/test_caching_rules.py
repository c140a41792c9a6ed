"""The rules of HTTP caching, without a server."""

import time

import pytest

from larder_cache.decorators.calls import CallKey
from larder_cache.decorators.codecs import OBJECT_CODEC
from larder_cache.errors import DecodeError
from larder_cache.http.caching_rules import (
    directives,
    headers_at_304,
    is_match,
    kept_headers,
    merged_vary,
    refusal,
    wants_fresh,
)
from larder_cache.http.endpoint_keys import body_digest
from larder_cache.http.recent_keys import RecentKeys
from larder_cache.http.stored import EndpointCodec, StoredResponse, StoredValue


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ("no-store", {"no-store": ""}),
        ("Private, Max-Age=60", {"private": "", "max-age": "60"}),
        ('no-cache="set-cookie, x", s-maxage = 5', {"no-cache": "set-cookie, x", "s-maxage": "5"}),
        ("@@, public", {"public": ""}),
        (",,", {}),
    ],
)
def test_directives(header, found):
    assert directives(header) == found


def test_white_space_takes_no_time():
    began = time.monotonic()
    assert directives(f"public{' ' * 30_000}x, max-age = {' ' * 30_000}5") == {"max-age": "5"}
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("status", "headers", "by_user", "varied", "reason"),
    [
        (200, [], False, [], None),
        (404, [], False, [], "the status is 404"),
        (200, [("Set-Cookie", "a=b")], True, [], "it sets a cookie"),
        (200, [("Cache-Control", "no-store")], True, [], "Cache-Control: no-store"),
        (200, [("Cache-Control", "private")], False, [], "Cache-Control: private"),
        (200, [("Cache-Control", "private")], True, [], None),
        (200, [("Cache-Control", "max-age=1, public")], False, [], None),
        (200, [("Vary", "Accept-Language")], False, [], "Vary: accept-language is not"),
        (200, [("Vary", "Accept-Language")], False, ["accept-language"], None),
        (200, [("Vary", "Cookie")], False, [], "Vary: cookie is not"),
        (200, [("Vary", "Cookie, Accept-Encoding")], True, [], None),
        (200, [("Vary", "*")], True, [], "Vary: * is not"),
        (200, [("Content-Encoding", "gzip")], False, [], "it is encoded"),
        (200, [("Content-Encoding", "gzip")], False, ["accept-encoding"], None),
        (200, [("Content-Range", "bytes 0-1/2")], False, [], "it is a part"),
    ],
)
def test_what_must_not_be_stored(status, headers, by_user, varied, reason):
    found = refusal(status, headers, statuses={200}, by_user=by_user, varied=varied)
    assert found is None if reason is None else found.startswith(reason)


def test_headers_of_one_answer_are_not_kept():
    headers = [
        ("Content-Type", "text/plain"), ("Content-Length", "3"), ("Date", "x"), ("X-A", "1"),
        ("Connection", "close, X-Hop"), ("X-Hop", "1"), ("X-Cache", "MISS"), ("Age", "1"),
    ]  # fmt: skip
    assert kept_headers(headers) == [("Content-Type", "text/plain"), ("X-A", "1")]


def test_a_304_has_only_its_headers():
    headers = [("ETag", "a"), ("Content-Type", "x"), ("Vary", "b"), ("X-Cache", "HIT")]
    assert [name for name, _ in headers_at_304(headers)] == ["ETag", "Vary", "X-Cache"]


@pytest.mark.parametrize(
    ("sent", "tag", "matches"),
    [
        (None, 'W/"a"', False),
        ('W/"a"', 'W/"a"', True),
        ('"a"', 'W/"a"', True),
        ('"x", W/"a"', '"a"', True),
        ('"x, a"', '"a"', False),
        ("*", '"a"', True),
        ('"a"', None, False),
    ],
)
def test_if_none_match(sent, tag, matches):
    assert is_match(sent, tag) is matches


def test_vary_is_merged():
    assert merged_vary(None, ["accept"]) == "accept"
    assert merged_vary("Accept, Cookie", ["accept", "x"]) == "Accept, Cookie, x"


@pytest.mark.parametrize(
    ("control", "pragma", "fresh"),
    [("no-cache", "", True), ("max-age=0", "", True), ("", "no-cache", True), ("", "", False),
     ("max-age=5", "no-cache", False), ("no-store", "", True)],
)  # fmt: skip
def test_requests_for_a_fresh_answer(control, pragma, fresh):
    assert wants_fresh(control, pragma) is fresh


def test_equal_json_bodies_have_one_digest():
    one = body_digest(b'{"a": 1, "b": [1.0]}', "application/json")
    assert one == body_digest(b'{"b":[1],"a":1}', "application/problem+json")
    assert one != body_digest(b'{"b":[1],"a":2}', "application/json")
    assert one != body_digest(b'{"a": 1, "b": [1.0]}', "text/plain")
    assert body_digest(b"{", "application/json") == body_digest(b"{", "text/plain")


@pytest.mark.parametrize(
    "value",
    [
        StoredResponse(200, [("a", "b"), ("a", "c\n")], b"\x00\n\xff"),
        StoredValue([("a", "b")], {"x": [1]}),
        StoredValue([("a", "b")], b"\n\xff"),
        {"x": 1},
        "text",
        b"bytes",
    ],
)
def test_stored_answers_come_back(value):
    codec = EndpointCodec(OBJECT_CODEC)
    assert codec.decode(*codec.encode(value)) == value


def test_damaged_answers_are_not_decoded():
    codec = EndpointCodec(OBJECT_CODEC)
    kind, content = codec.encode(StoredResponse(200, [], b"x"))
    with pytest.raises(DecodeError, match="damaged"):
        codec.decode(kind, content.replace(b"[200", b"(200"))


def test_recent_keys_are_bounded_and_forgotten():
    keys = RecentKeys(seconds=60, limit=2)
    for name in "abc":
        keys.add(CallKey(name))
    assert [keys.has(CallKey(name)) for name in "abc"] == [False, True, True]
    assert not keys.has(CallKey("c", {"x": "1"}))
    keys.discard(CallKey("c"))
    assert not keys.has(CallKey("c"))
    past = RecentKeys(seconds=0, limit=2)
    past.add(CallKey("a"))
    assert not past.has(CallKey("a"))
