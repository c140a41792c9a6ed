"""Codecs: how values become what is stored.

A stored value is `text`, `data` (bytes) or `json`. The default codec, `JsonCodec`, stores text as
text, bytes as data, and everything else as JSON.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import pickle
import threading
import zlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from larder_cache.errors import DecodeError, EncodeError

__all__ = [
    "BytesCodec",
    "Codec",
    "CompressedCodec",
    "Encoded",
    "JsonCodec",
    "Kind",
    "PickleCodec",
    "TextCodec",
    "codec_named",
    "register_codec",
]

Kind = Literal["text", "data", "json"]


class Encoded(NamedTuple):
    """A stored value: its kind, and a `str` for `text` and `json` or `bytes` for `data`."""

    kind: Kind
    content: str | bytes


@runtime_checkable
class Codec(Protocol):
    """How values become what is stored, and back.

    `encode` raises `EncodeError` for a value that it does not take. An error of `decode` makes the
    read a miss with a `DecodeError`.
    """

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        ...

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of a stored form."""
        ...


def _check(value: Any, path: str, depth: int = 0) -> None:
    """Refuses what JSON would change without an error."""
    if depth > 127:
        raise EncodeError(f"{path}: more than 128 arrays and objects within each other")
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise EncodeError(f"{path}: the name {name!r} is not text")
            if isinstance(item, (dict, list, tuple, float, bytes)):
                _check(item, f"{path}.{name}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if isinstance(item, (dict, list, tuple, float, bytes)):
                _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise EncodeError(f"{path}: {value!r} is not finite")
    elif isinstance(value, bytes):
        raise EncodeError(f"{path}: bytes are no part of JSON; encode them, or name a codec")


def _locate(value: Any, path: str, default: Callable[[Any], Any]) -> str | None:
    """The place of the value that the JSON encoder refuses."""
    if isinstance(value, dict):
        items = [(f"{path}.{name}", item) for name, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    elif value is None or isinstance(value, (str, int, float)):
        return None
    else:
        try:
            replaced = default(value)
        except (TypeError, ValueError):
            return path
        return _locate(replaced, path, default)
    return next((place for at, item in items if (place := _locate(item, at, default))), None)


def _no_default(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no part of JSON")


class JsonCodec:
    """Text as text, bytes as data, everything else as JSON without white space.

    `default` gives the JSON form of objects of other types, as in `json.dumps`. Tuples become
    lists. Names that are not text, numbers that are not finite and bytes within other values are
    refused.
    """

    def __init__(self, *, default: Callable[[Any], Any] | None = None) -> None:
        self._default = default or _no_default
        self._encoder = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=self._checked
        )
        self._loads = json.JSONDecoder().decode

    def _checked(self, value: Any) -> Any:
        replaced = self._default(value)
        _check(replaced, f"${type(value).__name__}")
        return replaced

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        if isinstance(value, str):
            return _text("text", str(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return Encoded("data", bytes(value))
        _check(value, "$")
        try:
            return _text("json", self._encoder.encode(value))
        except EncodeError:
            raise
        except (TypeError, ValueError, RecursionError) as error:
            place = _locate(value, "$", self._default) if type(error) is TypeError else "$"
            raise EncodeError(f"{place or '$'}: {error}") from error

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of a stored form."""
        return self._loads(content) if kind == "json" else content


def _text(kind: Kind, text: str) -> Encoded:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EncodeError(f"$: a lone surrogate at {error.start}") from None
    return Encoded(kind, text)


class TextCodec:
    """Text only."""

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        if not isinstance(value, str):
            raise EncodeError(f"$: the value must be text, not {type(value).__name__}")
        return _text("text", value)

    def decode(self, kind: Kind, content: Any, /) -> str:
        """The value of a stored form."""
        if kind == "data":
            raise DecodeError("the value is bytes, not text")
        return str(content)


class BytesCodec:
    """Bytes only. Stored text is read as its UTF-8."""

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise EncodeError(f"$: the value must be bytes, not {type(value).__name__}")
        return Encoded("data", bytes(value))

    def decode(self, kind: Kind, content: Any, /) -> bytes:
        """The value of a stored form."""
        return content if isinstance(content, bytes) else str(content).encode()


class PickleCodec:
    """Pickled values, signed with a secret: what does not carry the signature is not loaded.

    The secret permits to run code in this process by way of the cache. `secret` has at
    least 16 bytes. `old_secrets` are accepted when reading, while a secret is being replaced.
    """

    _MAGIC = b"LP1"

    def __init__(
        self,
        secret: bytes | str,
        *,
        old_secrets: tuple[bytes | str, ...] = (),
        protocol: int = pickle.DEFAULT_PROTOCOL,
    ) -> None:
        self._secrets = [_secret(each) for each in (secret, *old_secrets)]
        self._protocol = protocol

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        try:
            body = pickle.dumps(value, self._protocol)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            raise EncodeError(f"$: {error}") from error
        return Encoded("data", self._MAGIC + self._sign(self._secrets[0], body) + body)

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of a stored form."""
        if kind != "data" or content[:3] != self._MAGIC or len(content) < 35:
            raise DecodeError("the value is not a signed pickle")
        signature, body = content[3:35], content[35:]
        if not any(
            hmac.compare_digest(signature, self._sign(secret, body)) for secret in self._secrets
        ):
            raise DecodeError("the signature of the pickle is wrong")
        return pickle.loads(body)

    @classmethod
    def _sign(cls, secret: bytes, body: bytes) -> bytes:
        return hmac.digest(secret, cls._MAGIC + body, "sha256")


def _secret(secret: bytes | str) -> bytes:
    raw = secret.encode() if isinstance(secret, str) else bytes(secret)
    if len(raw) < 16:
        raise ValueError("secret must have at least 16 bytes")
    return hashlib.sha256(raw).digest()


class CompressedCodec:
    """Values of another codec, compressed by zlib if that is smaller.

    Only this codec can read them. `over` is the size in bytes above which it compresses.
    """

    _PLAIN: dict[Kind, bytes] = {"text": b"t", "data": b"d", "json": b"j"}
    _KINDS: dict[bytes, Kind] = {b"t": "text", b"d": "data", b"j": "json"}

    def __init__(self, inner: Codec | None = None, *, over: int = 1024, level: int = 6) -> None:
        self._inner: Codec = inner or JsonCodec()
        self._over = over
        self._level = level

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        kind, content = self._inner.encode(value)
        raw = content if isinstance(content, bytes) else content.encode()
        packed = zlib.compress(raw, self._level) if len(raw) > self._over else raw
        if len(packed) < len(raw):
            return Encoded("data", b"z" + self._PLAIN[kind] + packed)
        return Encoded("data", b"-" + self._PLAIN[kind] + raw)

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of a stored form."""
        inner = self._KINDS.get(content[1:2]) if kind == "data" else None
        if inner is None or content[:1] not in (b"z", b"-"):
            raise DecodeError("the value is not compressed by this codec")
        raw = zlib.decompress(content[2:]) if content[:1] == b"z" else content[2:]
        return self._inner.decode(inner, raw if inner == "data" else raw.decode())


_registry_lock = threading.Lock()
_registry: dict[str, Codec] = {}


def register_codec(name: str, codec: Codec) -> None:
    """Makes a codec known by a name, for `codec="name"`. A name can be registered again."""
    with _registry_lock:
        _registry[name] = codec


def codec_named(codec: Codec | str | None) -> Codec:
    """The codec of a name, or the codec itself; the default for None."""
    if codec is None:
        return DEFAULT_CODEC
    if not isinstance(codec, str):
        if not isinstance(codec, Codec):
            raise TypeError(f"codec must have encode and decode, not {type(codec).__name__}")
        return codec
    if codec == "pickle" and codec not in _registry:
        raise ValueError('codec="pickle" needs a secret: use PickleCodec(secret), or register it')
    try:
        return _registry[codec]
    except KeyError:
        known = ", ".join(sorted(_registry))
        raise ValueError(f"codec {codec!r} is not registered; there are {known}") from None


DEFAULT_CODEC = JsonCodec()
register_codec("json", DEFAULT_CODEC)
register_codec("text", TextCodec())
register_codec("bytes", BytesCodec())
register_codec("zlib", CompressedCodec())
