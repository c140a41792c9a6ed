"""The codec of a decorated function: from its options, or from the type that it returns."""

from __future__ import annotations

import base64
import json
import logging
import types
import typing
import zlib
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, Union

from larder_cache.codecs import Codec, Encoded, JsonCodec, Kind, codec_named
from larder_cache.errors import DecodeError, EncodeError
from larder_cache.typed import to_jsonable, typed_codec

log = logging.getLogger("larder_cache")

Serializer = Callable[[Any], str | bytes]
Deserializer = Callable[[Any], Any]


class FunctionCodec:
    """A codec of two functions, such as ``json.dumps`` and ``json.loads``.

    The serializer returns text or bytes, and the deserializer gets the same back. Their errors are
    those of a codec: a value that is not encoded is not stored, and one that is not decoded is a
    miss.
    """

    def __init__(self, serializer: Serializer, deserializer: Deserializer) -> None:
        self._serializer = serializer
        self._deserializer = deserializer

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        try:
            content = self._serializer(value)
        except Exception as error:
            raise EncodeError(f"$: serializer: {error!r}") from error
        if isinstance(content, str):
            return Encoded("text", content)
        if isinstance(content, (bytes, bytearray, memoryview)):
            return Encoded("data", bytes(content))
        raise EncodeError(f"$: serializer returned {type(content).__name__}, not text or bytes")

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of what is stored."""
        try:
            return self._deserializer(content)
        except Exception as error:
            raise DecodeError(f"deserializer: {error!r}") from error


class ObjectCodec(JsonCodec):
    """JSON that also takes dataclasses, models, dates, UUIDs, decimals and sets.

    They are read as plain JSON: a type brings them back.
    """

    def __init__(self) -> None:
        super().__init__(default=to_jsonable)


OBJECT_CODEC = ObjectCodec()


def compress(value: Any) -> str:
    """A serializer: the JSON of a value, compressed by zlib, as base64 text."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(body)).decode("ascii")


def decompress(stored: str | bytes) -> Any:
    """The deserializer that belongs to `compress`."""
    return json.loads(zlib.decompress(base64.b64decode(stored)))


def chosen_codec(
    *,
    codec: Codec | str | None,
    serializer: Serializer | None,
    deserializer: Deserializer | None,
    type: Any,
) -> Codec | None:
    """The codec that the options name, or None. Raises TypeError for options that conflict."""
    if serializer is None and deserializer is None:
        if codec is not None and type is not None:
            raise TypeError("codec and type exclude each other: a codec makes the values by itself")
        if codec is not None:
            return codec_named(codec)
        return None if type is None else typed_codec(type)
    if codec is not None or type is not None:
        raise TypeError("serializer and deserializer exclude codec and type")
    for option, function in (("serializer", serializer), ("deserializer", deserializer)):
        if function is not None and not callable(function):
            raise TypeError(f"{option} must be a function, not {function!r}")
    if serializer is None or deserializer is None:
        missing = "serializer" if serializer is None else "deserializer"
        raise TypeError(f"{missing} is missing: give both or none")
    return FunctionCodec(serializer, deserializer)


def codec_of_returns(function: Callable[..., Any]) -> Codec:
    """The codec for the type that a function returns, by its annotation.

    Types of JSON need no conversion, and neither does an annotation that cannot be resolved.
    """
    annotated: Any = function if hasattr(function, "__annotations__") else type(function).__call__
    try:
        returned = typing.get_type_hints(annotated).get("return", Any)
    except (NameError, TypeError, AttributeError) as error:
        log.debug("the annotations of %s cannot be resolved: %s", function, error)
        return OBJECT_CODEC
    if is_plain(returned):
        return OBJECT_CODEC
    try:
        return typed_codec(returned)
    except TypeError as error:
        log.debug("values of %s are read as JSON: %s", function, error)
        return OBJECT_CODEC


_PLAIN = frozenset({Any, object, None, type(None), str, bytes, int, float, bool, dict, list})
_PLAIN_ORIGINS = (
    dict, list, Mapping, MutableMapping, MutableSequence, Sequence, Union, types.UnionType,
    typing.Literal,
)  # fmt: skip


def is_plain(hint: Any) -> bool:
    """Whether values of the type are the same after a round trip through JSON."""
    if isinstance(hint, typing.TypeVar):
        return True
    origin = typing.get_origin(hint)
    if origin is None:
        return hint in _PLAIN or hint in (Mapping, Sequence)
    if origin is typing.Literal:
        return all(type(item) in _PLAIN for item in typing.get_args(hint))
    return origin in _PLAIN_ORIGINS and all(map(is_plain, typing.get_args(hint)))
