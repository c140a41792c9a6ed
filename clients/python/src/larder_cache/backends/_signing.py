"""Signed values, for backends whose contract needs pickled objects.

Unpickling runs code that the bytes choose. So a value is unpickled only if this application has
signed it, for the same namespace and key: nobody else with access to the server can make it run
code, or put the value of one key under another.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

__all__ = ["BadSignature", "Secret", "Signer", "is_pickled"]

#: One secret, or several: the first signs, and all verify, so that a secret can be replaced.
Secret = str | bytes | Sequence[str | bytes]

# Begins each signed value. The digit is the version of the format.
_MAGIC = b"LDS1"
_DIGEST_BYTES = hashlib.sha256().digest_size
_MIN_SECRET_BYTES = 16


class BadSignature(ValueError):
    """A value that is not signed, or not for its key with one of the secrets."""


def _encode(secret: object, minimum: int) -> bytes:
    if isinstance(secret, str):
        secret = secret.encode()
    if not isinstance(secret, bytes):
        raise TypeError(f"secret must be str, bytes or a list of them, not {type(secret).__name__}")
    if len(secret) < minimum:
        raise ValueError(f"secret must have at least {minimum} bytes, not {len(secret)}")
    return secret


class Signer:
    """Signs the values of one namespace with HMAC-SHA256.

    `minimum` is the least length of a secret in bytes.
    """

    def __init__(self, secret: Secret, namespace: str, *, minimum: int = _MIN_SECRET_BYTES) -> None:
        secrets = list(secret) if isinstance(secret, (list, tuple)) else [secret]
        if not secrets:
            raise ValueError("secret must not be empty")
        # Keys of their own, because applications use their secret for other signatures, too.
        purpose = b"larder-cache signed value\0" + namespace.encode()
        self._keys = [
            hmac.digest(_encode(each, minimum), purpose, hashlib.sha256) for each in secrets
        ]

    def seal(self, key: str, payload: bytes) -> bytes:
        """Returns the payload with its signature for a key."""
        return b"".join((_MAGIC, self._digest(self._keys[0], key, payload), payload))

    def open(self, key: str, sealed: bytes) -> bytes:
        """Returns the payload of a signed value; raises `BadSignature`."""
        begin = len(_MAGIC) + _DIGEST_BYTES
        payload = sealed[begin:]
        if sealed.startswith(_MAGIC) and len(sealed) >= begin:
            digest = sealed[len(_MAGIC) : begin]
            for each in self._keys:
                if hmac.compare_digest(digest, self._digest(each, key, payload)):
                    return payload
        raise BadSignature(f"the value of {key!r} is not signed by this application")

    @staticmethod
    def _digest(secret: bytes, key: str, payload: bytes) -> bytes:
        name = key.encode()
        # The length keeps apart a longer key and a longer payload.
        message = b"".join((len(name).to_bytes(8, "big"), name, payload))
        return hmac.digest(secret, message, hashlib.sha256)


def is_pickled(payload: bytes) -> bool:
    """Whether bytes are a pickle of the protocols 2 to 5, which all of Python 3 writes."""
    return (
        payload[:1] == b"\x80"
        and payload[1:2] in (b"\2", b"\3", b"\4", b"\5")
        and (payload[-1:] == b".")
    )
