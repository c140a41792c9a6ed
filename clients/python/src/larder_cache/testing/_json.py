"""JSON Merge Patch (RFC 7396), JSON Patch (RFC 6902) and JSON Pointer (RFC 6901)."""

from __future__ import annotations

import copy
import json
from typing import Any

from larder_cache.testing._errors import FakeRpcError, invalid

_OPS = {"add", "remove", "replace", "move", "copy", "test"}


def dump(value: Any) -> str:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def merge(value: Any, patch: Any) -> Any:
    """The value with a merge patch."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), item)
    return merged


class NotApplicable(Exception):
    """An operation that does not apply."""


def _parts(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise NotApplicable("path is invalid")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _index(container: list[Any], part: str, end: bool = False) -> int:
    if end and part == "-":
        return len(container)
    if not part.isdigit() or (len(part) > 1 and part[0] == "0"):
        raise NotApplicable("path is invalid")
    index = int(part)
    if index >= len(container) + end:
        raise NotApplicable("path is invalid")
    return index


def resolve(value: Any, pointer: str) -> Any:
    """The part of a value. Raises `NotApplicable`."""
    for part in _parts(pointer):
        if isinstance(value, list):
            value = value[_index(value, part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise NotApplicable("path is invalid")
    return value


def _add(value: Any, pointer: str, item: Any) -> Any:
    parts = _parts(pointer)
    if not parts:
        return item
    parent = resolve(value, pointer.rpartition("/")[0])
    if isinstance(parent, list):
        parent.insert(_index(parent, parts[-1], end=True), item)
    elif isinstance(parent, dict):
        parent[parts[-1]] = item
    else:
        raise NotApplicable("path is invalid")
    return value


def _remove(value: Any, pointer: str) -> Any:
    parts = _parts(pointer)
    if not parts:
        return None
    parent = resolve(value, pointer.rpartition("/")[0])
    resolve(parent, "/" + pointer.rpartition("/")[2])
    if isinstance(parent, list):
        del parent[_index(parent, parts[-1])]
    else:
        del parent[parts[-1]]
    return value


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_equal(a, b) for a, b in zip(left, right))
    return type(left) is type(right) and bool(left == right)


def _apply(value: Any, operation: dict[str, Any]) -> Any:
    op, path = operation["op"], operation["path"]
    if op == "add":
        return _add(value, path, copy.deepcopy(operation["value"]))
    if op == "remove":
        resolve(value, path)
        return _remove(value, path)
    if op == "replace":
        resolve(value, path)
        item = copy.deepcopy(operation["value"])
        return _add(_remove(value, path), path, item) if path else item
    if op == "test":
        if not _equal(resolve(value, path), operation["value"]):
            raise NotApplicable("value did not match")
        return value
    moved = copy.deepcopy(resolve(value, operation["from"]))
    if op == "move":
        value = _remove(value, operation["from"])
    return _add(value, path, moved)


def check_patch(operations: Any) -> None:
    """Refuses what is no JSON Patch."""
    if not isinstance(operations, list):
        raise invalid("json_patch", "must be an array")
    for index, operation in enumerate(operations):
        field = f"json_patch[{index}]"
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise invalid(field, "has no path")
        op = operation.get("op")
        if op not in _OPS:
            raise invalid(field, f'has the unknown op "{op}"')
        if op in ("add", "replace", "test") and "value" not in operation:
            raise invalid(field, "has no value")
        if op in ("move", "copy") and not isinstance(operation.get("from"), str):
            raise invalid(field, "has no from")


def json_patch(value: Any, operations: list[dict[str, Any]]) -> Any:
    """The value with a JSON Patch."""
    value = copy.deepcopy(value)
    for index, operation in enumerate(operations):
        try:
            value = _apply(value, operation)
        except NotApplicable as problem:
            path = operation["path"]
            raise FakeRpcError(
                "FAILED_PRECONDITION",
                f'the patch does not apply: operation {index} at "{path}": {problem}',
                "PATCH_NOT_APPLICABLE",
            ) from None
    return value
