"""Decorated functions, for type checkers. `test_typing.py` runs mypy on it."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import assert_type

from larder_cache import Deleted, NotStored, Result, Stored
from larder_cache.decorators import (
    AsyncCachedFunction,
    CachedFunction,
    cache_result,
    cached,
    cached_many,
)


@cached(ttl="5m", key="user:{user_id}")
def get_user(user_id: int, lang: str = "en") -> dict[str, int]:
    return {lang: user_id}


@cached()
async def load_user(user_id: int) -> str:
    return str(user_id)


@cache_result(timeout=60, key_prefix="x", tags=["t"])
def areas() -> list[str]:
    return []


@cached_many(60)
def get_users(ids: list[int]) -> Mapping[int, str]:
    return {}


class Repo:
    @cached()
    def find(self, key: str) -> bytes:
        return key.encode()

    @cached()
    async def load(self, key: str) -> int:
        return len(key)


def calls() -> None:
    assert_type(get_user(1), dict[str, int])
    assert_type(get_user.get(1, lang="de"), Result[dict[str, int]])
    assert_type(get_user.set({"a": 1}, 1), Stored | NotStored)
    assert_type(get_user.invalidate(user_id=1), Deleted)
    assert_type(get_user.refresh(1), dict[str, int])
    assert_type(get_user.original(1, "en"), dict[str, int])
    assert_type(areas(), list[str])
    assert_type(Repo().find("a"), bytes)
    assert_type(Repo().find.get("a"), Result[bytes])
    assert_type(get_users([1]), dict[int, str])
    one: CachedFunction[..., dict[str, int]] = get_user
    two: AsyncCachedFunction[..., str] = load_user
    print(one, two)


async def coroutines() -> None:
    assert_type(await load_user(1), str)
    assert_type(await load_user.get(1), Result[str])
    assert_type(await Repo().load("a"), int)
    assert_type(await Repo().load.refresh("a"), int)


def mistakes() -> None:
    get_user("1")  # type: ignore[arg-type]
    get_user(1, language="de")  # type: ignore[call-arg]
    get_user.get()  # type: ignore[call-arg]
    get_user.set("text", 1)  # type: ignore[arg-type]
    Repo().find(1)  # type: ignore[arg-type]
    Repo().find("a", "b")  # type: ignore[call-arg]
    cached(cache_nothing=True)  # type: ignore[call-arg]
    cache_result(60, cache_nothing=True)  # type: ignore[call-arg]
