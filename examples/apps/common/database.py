"""The database: queries are slow, as in the systems that this example stands for.

A query is a file in `database/queries` and returns one JSON document; its delay is in
`database/delays.json`. A change is a file in `database/changes`. The Node.js service reads the same
files, so that all services make the same JSON of the same rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
import time
from functools import cache
from typing import Any

from . import settings

_FOLDER = settings.ROOT / "database"
_DELAYS: dict[str, float] = json.loads((_FOLDER / "delays.json").read_text())
_local = threading.local()


def query(name: str, **parameters: Any) -> Any:
    """The document of a query, or None if there is no row. Takes as long as its delay."""
    _log(name)
    documents = _documents("queries", name, parameters)
    # The rows are read first: as with a real slow query, they can be old when it ends.
    time.sleep(_delay(name))
    return documents[0] if documents else None


async def query_async(name: str, **parameters: Any) -> Any:
    """`query` for asyncio."""
    _log(name)
    documents = await asyncio.to_thread(_documents, "queries", name, parameters)
    await asyncio.sleep(_delay(name))
    return documents[0] if documents else None


def change(name: str, **parameters: Any) -> list[Any]:
    """Applies a change, and returns the documents of the changed rows. It is durable on return."""
    return _documents("changes", name, parameters)


async def change_async(name: str, **parameters: Any) -> list[Any]:
    """`change` for asyncio."""
    return await asyncio.to_thread(change, name, **parameters)


def _delay(name: str) -> float:
    return _DELAYS[name] * settings.DELAY_SCALE / 1000


def _documents(folder: str, name: str, parameters: dict[str, Any]) -> list[Any]:
    connection = _connection()
    with connection:
        rows = connection.execute(_statement(folder, name), parameters).fetchall()
    return [json.loads(row[0]) for row in rows]


@cache
def _statement(folder: str, name: str) -> str:
    return (_FOLDER / folder / f"{name}.sql").read_text()


def _connection() -> sqlite3.Connection:
    # One per thread and process: SQLite's connections must not be used after a fork.
    if getattr(_local, "process", None) != os.getpid():
        _local.connection = sqlite3.connect(settings.DATABASE, timeout=10)
        _local.process = os.getpid()
    connection: sqlite3.Connection = _local.connection
    return connection


def _log(name: str) -> None:
    if not settings.QUERY_LOG:
        return
    # One write of a short line to a file opened for appending does not mix with others.
    line = f"{time.time():.3f} {name}\n".encode()
    file = os.open(settings.QUERY_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)
