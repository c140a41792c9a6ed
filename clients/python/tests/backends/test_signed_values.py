"""Signed values: what is accepted, and what is refused."""

from __future__ import annotations

import pickle

import pytest

from larder_cache.backends._objects import Objects, Undecodable
from larder_cache.backends._signing import BadSignature, Signer, is_pickled

OLD, NEW = "old secret of 18 b", "new secret of 18 b"


class Bomb:
    """Raises when it is unpickled, so that a test sees that it was."""

    def __reduce__(self):
        return (pytest.fail, ("an unsigned value was unpickled",))


def test_a_signed_value_opens_under_its_own_key_only():
    signer = Signer(OLD, "shop")
    sealed = signer.seal("a", b"payload")
    assert signer.open("a", sealed) == b"payload"
    with pytest.raises(BadSignature, match="'b'"):
        signer.open("b", sealed)
    with pytest.raises(BadSignature):
        Signer(OLD, "other").open("a", sealed)
    with pytest.raises(BadSignature):
        Signer(NEW, "shop").open("a", sealed)


@pytest.mark.parametrize("change", range(0, 4 + 32 + 7, 3))
def test_a_changed_byte_is_refused(change):
    signer = Signer(OLD, "shop")
    sealed = bytearray(signer.seal("a", b"payload"))
    sealed[change] ^= 1
    with pytest.raises(BadSignature):
        signer.open("a", bytes(sealed))


@pytest.mark.parametrize("value", [b"", b"LDS1", pickle.dumps({}), b"LDS1" + bytes(32)])
def test_what_is_not_signed_is_refused(value):
    with pytest.raises(BadSignature):
        Signer(OLD, "shop").open("a", value)


def test_the_border_between_key_and_payload_is_signed():
    signer = Signer(OLD, "shop")
    sealed = signer.seal("ab", b"c")
    with pytest.raises(BadSignature):
        signer.open("a", sealed[:-1] + b"bc")


def test_a_secret_can_be_replaced():
    sealed = Signer(OLD, "shop").seal("a", b"x")
    both = Signer([NEW, OLD], "shop")
    assert both.open("a", sealed) == b"x"
    assert Signer(NEW, "shop").open("a", both.seal("a", b"y")) == b"y"


@pytest.mark.parametrize(
    ("secret", "error", "message"),
    [
        ("short", ValueError, "at least 16 bytes, not 5"),
        ([], ValueError, "must not be empty"),
        (17, TypeError, "not int"),
        ([OLD, 17], TypeError, "not int"),
    ],
)
def test_bad_secrets_are_refused(secret, error, message):
    with pytest.raises(error, match=message):
        Signer(secret, "shop")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [None, 5, "text", {"a": [1]}])
def test_pickles_are_recognized(protocol, value):
    assert is_pickled(pickle.dumps(value, protocol))


@pytest.mark.parametrize("value", [b"", b"\x80", b'{"a": 1}', b"text."])
def test_other_bytes_are_no_pickles(value):
    assert not is_pickled(value)


@pytest.mark.parametrize(
    "value",
    [0, -7, 2**63 - 1, 2**63, -(2**70), True, False, None, "", "42", b"", b"42", 1.5, {256: ()}],
)
def test_objects_come_back_as_they_were(value):
    objects = Objects(Signer(OLD, "shop"))
    decoded = objects.decode("a", objects.encode("a", value))
    assert decoded == value
    assert type(decoded) is type(value)


def test_integers_are_counters():
    assert Objects(Signer(OLD, "shop")).encode("a", -42) == "-42"


def test_an_unsigned_pickle_is_not_loaded():
    with pytest.raises(Undecodable):
        Objects(Signer(OLD, "shop")).decode("a", pickle.dumps(Bomb()))


def test_a_class_that_is_gone_is_undecodable():
    signer = Signer(OLD, "shop")
    sealed = signer.seal("a", b"cno_such_module\nC\n.")
    with pytest.raises(Undecodable, match="no_such_module"):
        Objects(signer).decode("a", sealed)


def test_pickle_needs_a_signer():
    with pytest.raises(ValueError, match="secret"):
        Objects(None)
