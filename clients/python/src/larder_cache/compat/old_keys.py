"""Keys of the replaced modules, such as ``cache:user:7:profile``, as namespaces and keys."""

from __future__ import annotations

import re
from typing import NamedTuple

from larder_cache.decorators.templates import glob_escape

from .settings import GENERAL, key_prefix

_WILDCARD = re.compile(r"[*?\[]")


class OldKey(NamedTuple):
    """A namespace, and a key or a glob within it."""

    namespace: str
    key: str


def split(key: str) -> OldKey:
    """``cache:user:7:profile`` is the key ``7:profile`` of the namespace ``user``.

    The prefix can be missing. A key without a colon is of the namespace ``general``. Raises
    ValueError for an empty key, namespace or rest.
    """
    if not isinstance(key, str):
        raise TypeError(f"key must be text, not {type(key).__name__}")
    namespace, colon, rest = _without_prefix(key).partition(":")
    if not colon:
        namespace, rest = GENERAL, namespace
    if not namespace or not rest:
        raise ValueError(f"key {key!r} has an empty part: it is <namespace>:<key>")
    return OldKey(namespace, rest)


def split_pattern(pattern: str) -> list[OldKey]:
    """The globs that a pattern stands for, each in its namespace.

    ``user:*`` is all of the namespace ``user``. ``areas*`` is all of the namespace ``areas``, and
    the keys without a colon that match. Raises ValueError for a pattern over all namespaces.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be text, not {type(pattern).__name__}")
    namespace, colon, rest = _without_prefix(pattern).partition(":")
    if colon:
        if not namespace or not rest or _WILDCARD.search(namespace):
            raise ValueError(f"pattern {pattern!r} must begin with the name of one namespace")
        return [OldKey(namespace, rest)]
    bare = OldKey(GENERAL, namespace)
    if not _WILDCARD.search(namespace):
        return [bare._replace(key=glob_escape(namespace))] if namespace else []
    name = namespace.removesuffix("*")
    if not name:
        raise ValueError(f"pattern {pattern!r} names no namespace: invalidate each by its name")
    return [bare] if _WILDCARD.search(name) else [bare, OldKey(name, "*")]


def _without_prefix(key: str) -> str:
    prefix = key_prefix()
    return key.removeprefix(f"{prefix}:") if prefix else key
