"""Names of namespaces, keys and params, as they are sent."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from larder_cache.errors import InvalidArgument

__all__ = ["Key", "encode_key", "encode_namespace", "encode_params"]

MAX_KEY_BYTES = 1024
MAX_PARAMS = 64
MAX_PARAM_BYTES = 8 * 1024

_VALID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_INVALID_CHARACTER = re.compile(r"[^a-z0-9._-]", re.ASCII)
_TO_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_HEAD_BYTES = 900


def utf8(text: str, name: str) -> bytes:
    """The UTF-8 of a text. Raises `InvalidArgument` if it has none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name} has a lone surrogate at {error.start}") from None


@functools.lru_cache(maxsize=4096)
def encode_namespace(name: str) -> str:
    """The namespace that a name is sent as: itself if it is valid, else `x--<head>-<digest>`."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a namespace must be a str, not {type(name).__name__}")
    if not name:
        raise InvalidArgument("the name of a namespace must not be empty")
    if _VALID.fullmatch(name) and not name.startswith("x--"):
        return name
    digest = hashlib.sha256(utf8(name, "the name of a namespace")).hexdigest()[:16]
    head = _INVALID_CHARACTER.sub("-", name.translate(_TO_LOWER))[:40]
    return f"x--{head}-{digest}"


def encode_key(key: str) -> str:
    """The key as it is sent: one of more than 1,024 bytes becomes a head and a digest."""
    if type(key) is not str and not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    if not key:
        raise InvalidArgument("key must not be empty")
    if len(key) <= MAX_KEY_BYTES and key.isascii():
        return key
    raw = utf8(key, "key")
    if len(raw) <= MAX_KEY_BYTES:
        return key
    head = raw[:_HEAD_BYTES].decode(errors="ignore")
    return f"{head}#{hashlib.sha256(raw).hexdigest()}"


def encode_params(params: Mapping[str, str]) -> dict[str, str]:
    """The params as they are sent: too many or too large ones become one digest."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a mapping, not {params!r}")
    size = 0
    pairs: list[tuple[bytes, bytes]] = []
    for name, value in params.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"params must be text, not {name!r}: {value!r}")
        if not name:
            raise InvalidArgument("params must not have an empty name")
        pair = (utf8(name, "params"), utf8(value, f"params[{name!r}]"))
        size += len(pair[0]) + len(pair[1])
        pairs.append(pair)
    if len(pairs) <= MAX_PARAMS and size <= MAX_PARAM_BYTES:
        return dict(params)
    digest = hashlib.sha256()
    for part in (part for pair in sorted(pairs) for part in pair):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return {"digest": digest.hexdigest()}


class Key:
    """A key with params, for the calls that take several keys. It is hashable."""

    __slots__ = ("_pairs", "key", "params")

    key: str
    params: Mapping[str, str]

    def __init__(self, key: str, params: Mapping[str, str] | None = None, **more: str) -> None:
        self.key = key
        self.params = {**(params or {}), **more}
        self._pairs = (key, frozenset(self.params.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"Key({self.key!r}, {dict(self.params)!r})"


def split_key(key: Any) -> tuple[str, dict[str, str] | None]:
    """Key and params, as they are sent, of a `str` or a `Key`."""
    if isinstance(key, Key):
        return encode_key(key.key), encode_params(key.params) if key.params else None
    return encode_key(key), None
