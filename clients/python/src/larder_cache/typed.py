"""Typed values: dataclasses, pydantic and msgspec models, TypedDicts and types of the library."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import functools
import sys
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

from larder_cache.codecs import Encoded, JsonCodec, Kind
from larder_cache.errors import DecodeError, EncodeError

__all__ = ["TypedCodec", "to_jsonable", "typed_codec"]


def to_jsonable(value: Any) -> Any:
    """The JSON form of an object of a type that `TypedCodec` takes. Raises `TypeError`."""
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(type(value), "__struct_fields__"):
        return sys.modules["msgspec"].to_builtins(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no part of JSON")


Convert = Callable[[Any], Any]


def _mismatch(value: Any, wanted: Any) -> DecodeError:
    name = getattr(wanted, "__name__", str(wanted))
    return DecodeError(f"the value is {type(value).__name__}, not {name}")


def _exactly(kind: type) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is kind or (isinstance(value, kind) and not isinstance(value, bool)):
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise _mismatch(value, kind)

    return convert


def _parsed(parse: Convert, kind: type) -> Convert:
    def convert(value: Any) -> Any:
        return value if isinstance(value, kind) else parse(value)

    return convert


def _iso(kind: Any) -> Convert:
    def parse(value: Any) -> Any:
        # Python 3.10 does not read the Z of RFC 3339.
        text = value[:-1] + "+00:00" if kind is not datetime.date and value[-1:] == "Z" else value
        return kind.fromisoformat(text)

    return parse


_LEAVES: dict[Any, Convert] = {
    Any: lambda value: value,
    object: lambda value: value,
    None: _exactly(type(None)),
    **{kind: _exactly(kind) for kind in (str, bytes, int, float, bool, type(None))},
    datetime.datetime: _parsed(_iso(datetime.datetime), datetime.datetime),
    datetime.date: _parsed(_iso(datetime.date), datetime.date),
    datetime.time: _parsed(_iso(datetime.time), datetime.time),
    datetime.timedelta: _parsed(lambda v: datetime.timedelta(seconds=v), datetime.timedelta),
    uuid.UUID: _parsed(uuid.UUID, uuid.UUID),
    decimal.Decimal: _parsed(decimal.Decimal, decimal.Decimal),
}


def _sequence(make: Convert, item: Convert) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise _mismatch(value, list)
        return make(item(each) for each in value)

    return convert


def _mapping(key: Convert, item: Convert) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, dict)
        return {key(name): item(each) for name, each in value.items()}

    return convert


def _fixed_tuple(items: list[Convert]) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != len(items):
            raise _mismatch(value, tuple)
        return tuple(item(each) for item, each in zip(items, value))

    return convert


def _union(choices: list[Convert], wanted: Any) -> Convert:
    def convert(value: Any) -> Any:
        for choice in choices:
            try:
                return choice(value)
            except (DecodeError, ValueError, TypeError, KeyError, decimal.InvalidOperation):
                continue
        raise _mismatch(value, wanted)

    return convert


def _record(kind: Any, required: set[str], hints: dict[str, Any], make: Convert) -> Convert:
    converters = {name: converter(hint) for name, hint in hints.items()}

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch(value, kind)
        missing = required - value.keys()
        if missing:
            raise DecodeError(f"{kind.__name__}: {sorted(missing)[0]!r} is missing")
        return make({n: convert(value[n]) for n, convert in converters.items() if n in value})

    return convert


def _dataclass(kind: Any) -> Convert:
    fields = [field for field in dataclasses.fields(kind) if field.init]
    none = dataclasses.MISSING
    required = {f.name for f in fields if f.default is none and f.default_factory is none}
    hints = typing.get_type_hints(kind)
    return _record(kind, required, {f.name: hints[f.name] for f in fields}, lambda v: kind(**v))


def _literal(choices: tuple[Any, ...]) -> Convert:
    def convert(value: Any) -> Any:
        if value in choices:
            return value
        raise DecodeError(f"the value is {value!r}, not one of {choices!r}")

    return convert


_SEQUENCES: dict[Any, Any] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Set: set,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def _generic(kind: Any, origin: Any, args: tuple[Any, ...]) -> Convert:
    if origin is typing.Union or origin is types.UnionType:
        return _union([converter(each) for each in args], kind)
    if origin is typing.Literal:
        return _literal(args)
    if origin is typing.Annotated:
        return converter(args[0])
    if origin in _SEQUENCES:
        return _sequence(_SEQUENCES[origin], converter(args[0]))
    if origin in _MAPPINGS:
        return _mapping(converter(args[0]), converter(args[1]))
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return _sequence(tuple, converter(args[0]))
        return _fixed_tuple([converter(each) for each in args])
    return _model(kind)


def _model(kind: Any) -> Convert:
    if hasattr(kind, "model_validate"):
        return lambda value: value if isinstance(value, kind) else kind.model_validate(value)
    if hasattr(kind, "__struct_fields__"):
        return lambda value: sys.modules["msgspec"].convert(value, kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return lambda value: value if isinstance(value, kind) else kind(value)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    if hasattr(kind, "__required_keys__"):
        hints = typing.get_type_hints(kind)
        return _record(kind, set(kind.__required_keys__), hints, lambda value: value)
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        types_ = [hints.get(name, Any) for name in getattr(kind, "_fields")]  # noqa: B009
        plain = _fixed_tuple([converter(each) for each in types_])
        return lambda value: kind(*plain(value))
    if kind in _SEQUENCES:
        return _sequence(_SEQUENCES[kind], _LEAVES[Any])
    if kind is tuple:
        return _sequence(tuple, _LEAVES[Any])
    if kind in _MAPPINGS:
        return _mapping(_LEAVES[Any], _LEAVES[Any])
    raise TypeError(f"type {kind!r} is not supported: use a dataclass, a pydantic model or a codec")


@functools.lru_cache(maxsize=1024)
def _cached_converter(kind: Any) -> Convert:
    origin = typing.get_origin(kind)
    if origin is not None:
        return _generic(kind, origin, typing.get_args(kind))
    return _model(kind)


def converter(kind: Any) -> Convert:
    """A function that makes values of a type from its JSON form. Raises `TypeError`."""
    if isinstance(kind, typing.TypeVar):
        return _LEAVES[Any]
    try:
        leaf = _LEAVES.get(kind)
        return leaf if leaf is not None else _cached_converter(kind)
    except RecursionError:
        raise TypeError(f"type {kind!r} contains itself: use a pydantic model") from None


class TypedCodec:
    """Values of one type, stored as JSON (text and bytes as they are)."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._convert = converter(kind)
        self._json = JsonCodec(default=to_jsonable)

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        if isinstance(value, enum.Enum):
            value = value.value
        return self._json.encode(value)

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of a stored form."""
        value = self._json.decode(kind, content)
        try:
            return self._convert(value)
        except (DecodeError, EncodeError):
            raise
        except (ValueError, TypeError, KeyError, decimal.InvalidOperation) as error:
            raise DecodeError(f"the value is not {self._kind!r}: {error}") from error


@functools.lru_cache(maxsize=1024)
def typed_codec(kind: Any) -> TypedCodec:
    """The codec of a type; the same object each time."""
    return TypedCodec(kind)
