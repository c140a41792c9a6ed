"""Whole answers as values of the cache."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from larder_cache.codecs import Codec, Encoded, Kind
from larder_cache.errors import DecodeError

#: Stored answers begin with it; the number is the version of the form.
_MAGIC = b"\x93larder-http1\n"


class StoredResponse(NamedTuple):
    """An answer: its status, the headers that are kept, and its body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class StoredValue(NamedTuple):
    """A value that an endpoint returned, and the headers that it set."""

    headers: list[tuple[str, str]]
    value: Any


class Unshareable:
    """Stands for an answer that only the request that caused it may have."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class EndpointCodec:
    """Whole answers in a form of their own, and all other values by another codec."""

    def __init__(self, values: Codec) -> None:
        self._values = values

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        if isinstance(value, StoredResponse):
            return _joined([value.status, value.headers, ""], value.body)
        if isinstance(value, StoredValue):
            kind, content = self._values.encode(value.value)
            body = content if isinstance(content, bytes) else content.encode()
            return _joined([0, value.headers, kind], body)
        return self._values.encode(value)

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of what is stored."""
        if kind != "data" or not content.startswith(_MAGIC):
            return self._values.decode(kind, content)
        head, _, body = content[len(_MAGIC) :].partition(b"\n")
        try:
            status, pairs, inner = json.loads(head)
            headers = [(str(name), str(value)) for name, value in pairs]
        except (ValueError, TypeError) as error:
            raise DecodeError(f"a stored answer is damaged: {error}") from error
        if not inner:
            return StoredResponse(int(status), headers, body)
        return StoredValue(
            headers, self._values.decode(inner, body if inner == "data" else body.decode())
        )


def _joined(head: list[Any], body: bytes) -> Encoded:
    start = json.dumps(head, separators=(",", ":")).encode()
    return Encoded("data", _MAGIC + start + b"\n" + body)
