"""Checks of arguments, before a call: a wrong one is refused whether a server is there or not.

The limits are those of the protocol. What the configuration of a server decides, such as the
largest value, only the server checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration as ProtoDuration

from larder_cache._engine.globs import GlobError, matcher
from larder_cache.durations import Duration, to_proto, to_seconds
from larder_cache.errors import InvalidArgument
from larder_cache.names import utf8

MAX_TAGS = 32
_TAG_BYTES = 128
_HOLD_OFF = 3600.0
_EVENT_BYTES = 255
_ATTRIBUTES = 64
_ATTRIBUTE_NAME_BYTES = 128
_ATTRIBUTE_BYTES = 1024
_PATCH_MEMBERS = {
    "add": ("value",),
    "replace": ("value",),
    "test": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "remove": (),
}


def check_text(value: Any, name: str, limit: int, *, empty: bool = False) -> str:
    """A text of at most `limit` bytes of UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {value!r}")
    if not value and not empty:
        raise InvalidArgument(f"{name} must not be empty")
    if len(value) * 4 <= limit and value.isascii():
        return value
    size = len(utf8(value, name))
    if size > limit:
        raise InvalidArgument(f"{name} has {size} bytes, the limit is {limit}")
    return value


def check_several(items: Any, name: str, kind: str) -> tuple[Any, ...]:
    """Several items as a tuple. A single text is refused: it would be an item per letter."""
    if not isinstance(items, (str, bytes)):
        try:
            return tuple(items)
        except TypeError:
            pass
    raise TypeError(f"{name} must be a list of {kind}, not {items!r}")


def check_loaded_tags(tags: Any) -> tuple[str, ...]:
    """The tags that a loader gives its value. The server refuses those that are too long."""
    checked = check_several(tags, "tags", "text")
    for tag in checked:
        check_text(tag, "tags", 1 << 20, empty=True)
    return checked


def check_tags(tags: Any, name: str = "tags") -> tuple[str, ...]:
    """The tags of a call."""
    checked = check_several(tags, name, "text")
    for tag in checked:
        check_text(tag, name, _TAG_BYTES)
    return checked


def check_count(tags: tuple[str, ...]) -> tuple[str, ...]:
    """The tags of one entry."""
    if len(tags) > MAX_TAGS:
        raise InvalidArgument(f"tags has {len(tags)} elements, the limit is {MAX_TAGS}")
    return tags


def check_pattern(glob: Any, name: str, *, empty: bool = False) -> str:
    """A glob."""
    check_text(glob, name, 1 << 30, empty=empty)
    try:
        matcher(glob)
    except GlobError as error:
        raise InvalidArgument(f"{name} {error}") from None
    return str(glob)


def check_version(version: Any) -> str:
    """The version of a condition."""
    return check_text(version, "if_version", 1 << 20)


def check_hold_off(value: Duration) -> ProtoDuration:
    """The wire form of a hold-off, at most an hour."""
    duration = to_proto(value, "hold_off")
    if to_seconds(duration) > _HOLD_OFF:
        raise InvalidArgument(f"hold_off must be at most {_HOLD_OFF:.0f} s, not {value!r}")
    return duration


def check_ttl(duration: ProtoDuration | None | bool) -> ProtoDuration | None:
    """A TTL of a call that takes none that has passed."""
    if isinstance(duration, bool):
        raise InvalidArgument("ttl must be positive")
    return duration


def check_event(name: Any, attributes: Any) -> dict[str, str]:
    """The attributes of an event, after a check of its name."""
    check_text(name, "name", _EVENT_BYTES)
    # The control characters are those of Unicode: C0, DEL and C1.
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in name):
        raise InvalidArgument("name must not have control characters")
    if attributes is None:
        return {}
    if not isinstance(attributes, Mapping):
        raise TypeError(f"attributes must be a mapping, not {attributes!r}")
    if len(attributes) > _ATTRIBUTES:
        raise InvalidArgument(
            f"attributes has {len(attributes)} elements, the limit is {_ATTRIBUTES}"
        )
    for attribute, value in attributes.items():
        check_text(attribute, "the name of one of attributes", _ATTRIBUTE_NAME_BYTES)
        check_text(value, f"attributes[{attribute!r}]", _ATTRIBUTE_BYTES, empty=True)
    return dict(attributes)


def check_json_patch(patch: Any) -> None:
    """A JSON Patch: a list of operations."""
    if not isinstance(patch, (list, tuple)):
        raise InvalidArgument(f"json_patch must be a list of operations, not {patch!r}")
    for number, operation in enumerate(patch):
        place = f"json_patch[{number}]"
        if not isinstance(operation, Mapping):
            raise InvalidArgument(f"{place} must be an object, not {operation!r}")
        name = operation.get("op")
        members = _PATCH_MEMBERS.get(name) if isinstance(name, str) else None
        if members is None:
            raise InvalidArgument(f"{place} must have an op of {', '.join(_PATCH_MEMBERS)}")
        for member in ("path", *members):
            if member not in operation:
                raise InvalidArgument(f"{place} must have a {member}")
            if member != "value":
                _check_pointer(operation[member], f"{place}.{member}")


def _check_pointer(pointer: Any, name: str) -> None:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise InvalidArgument(f"{name} must be a JSON Pointer (RFC 6901), not {pointer!r}")
    for at, character in enumerate(pointer):
        if character == "~" and pointer[at + 1 : at + 2] not in ("0", "1"):
            raise InvalidArgument(f"{name} must be a JSON Pointer (RFC 6901), not {pointer!r}")
    utf8(pointer, name)


def check_page_size(size: Any) -> int:
    """The number of keys of a page; 0 is that of the server."""
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"page_size must be an int, not {size!r}")
    if not 0 <= size < 2**32:
        raise InvalidArgument(f"page_size must be 0 to {2**32 - 1}, not {size!r}")
    return size
