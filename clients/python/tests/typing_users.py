"""Code of users, which mypy --strict and pyright accept. `test.sh types` runs both."""

from __future__ import annotations

import dataclasses
from typing import Any

from typing_extensions import assert_type

from larder_cache import (
    AsyncClient,
    AsyncNamespace,
    Client,
    Hit,
    Key,
    Loaded,
    Miss,
    Namespace,
    Negative,
    NotStored,
    Result,
    Stale,
    Stored,
    configure,
    default_client,
)
from larder_cache.testing import FakeLarder, LarderServer


@dataclasses.dataclass
class User:
    name: str


def load_user() -> User:
    return User("Ann")


async def load_user_async() -> User:
    return User("Ann")


def blocking(client: Client) -> str:
    users = client.namespace("users", type=User, ttl="5m", tags=["users"])
    assert_type(users, Namespace[User])
    result = users.get("1")
    assert_type(result, Result[User])
    if result:
        print(result.value.name)
    assert_type(result.value_or(), User | None)
    assert_type(result.value_or(5), User | int)
    assert_type(users.get("1", type=int), Result[int])
    assert_type(users.get_or_fetch("1", load_user).value, User)
    assert_type(users.get_or_fetch("1", lambda: Loaded(User("x"), ttl=5)).value, User)
    assert_type(users.get_or_fetch("1"), Result[User])
    assert_type(users.get_many(["1", "2"]), dict[str, Result[User]])
    assert_type(users.get_many([Key("1", lang="de")]), dict[Key, Result[User]])
    users.set_many({"1": User("a")}, ttl=5)
    stored = users.set("1", User("a"), if_absent=True)
    assert_type(stored, Stored | NotStored)
    if isinstance(stored, NotStored):
        return stored.reason
    anything: Namespace[Any] = client.namespace("anything")
    match anything.get("k"):
        case Hit(value) | Stale(value):
            return str(value)
        case Negative():
            return "negative"
        case Miss(error=error):
            return str(error)
        case _:
            return ""


async def asynchronous(client: AsyncClient) -> None:
    users = client.namespace("users", type=User)
    assert_type(users, AsyncNamespace[User])
    assert_type(await users.get("1"), Result[User])
    assert_type((await users.get_or_fetch("1", load_user_async)).value, User)
    assert_type((await users.get_or_fetch("1", load_user)).value, User)
    async for key in users.list_keys("a*"):
        print(key.key)
    async for event in users.watch(keys=True):
        print(event)


def main() -> None:
    configure("localhost:50051", preset="low_latency")
    blocking(default_client())
    with LarderServer() as server, server.client() as client:
        blocking(client)
    blocking(FakeLarder().client())
