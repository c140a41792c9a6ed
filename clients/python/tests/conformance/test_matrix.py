"""Values that other languages read, and values that other languages have written.

`clients/conformance/matrix.sh` runs it, first with `LARDER_MATRIX=write` and then with `read`.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from larder_cache import Client, Namespace

from .control import CONFORMANCE
from .grammar import expand, same

ROWS = json.loads((CONFORMANCE / "suite.json").read_text(encoding="utf-8"))["matrix"]
MODE = os.environ.get("LARDER_MATRIX", "")
WRITERS = os.environ.get("LARDER_MATRIX_WRITERS", "").split()


@pytest.fixture
def client() -> Any:
    """A client of the server that all languages share."""
    with Client(os.environ["LARDER_MATRIX_TARGET"], preset="local") as client:
        yield client


def _write(namespace: Namespace[Any], row: dict[str, Any]) -> None:
    key, value = expand(row["key"], {}), expand(row["value"], {})
    params = expand(row.get("params"), {})
    if "increment" in row:
        assert namespace.increment(key, row["increment"]).value == row["increment"]
    elif "fetch" in row:
        stored = namespace.get_or_fetch(key, lambda: expand(row["fetch"], {})).stored
        assert stored, stored
    else:
        stored = namespace.set(key, value, params=params, tags=row.get("tags", ()))
        assert stored, stored


@pytest.mark.skipif(MODE != "write", reason="matrix.sh runs it")
def test_write(client: Client) -> None:
    """Writes all values."""
    for row in ROWS:
        _write(client.namespace("matrix-python"), row)


@pytest.mark.skipif(MODE != "read", reason="matrix.sh runs it")
@pytest.mark.parametrize("writer", WRITERS)
def test_read(client: Client, writer: str) -> None:
    """Reads the values of a language."""
    namespace, read = client.namespace(f"matrix-{writer}"), 0
    for row in ROWS:
        key, value = expand(row["key"], {}), expand(row["value"], {})
        result = namespace.get(key, params=expand(row.get("params"), {}))
        if not result.found and "big_integers" in row.get("needs", ()):
            # Not every language can write it.
            continue
        assert result.outcome == "HIT", f"{key[:40]}: {result}"
        assert same(value, result.value), f"{key[:40]}: {result}"
        assert list(result.tags) == sorted(row.get("tags", [])), f"{key[:40]}: {result}"
        read += 1
    assert read >= len(ROWS) - 1
