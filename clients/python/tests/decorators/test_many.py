"""`cached_many`, against the real server."""

import asyncio
import dataclasses

import decorators_server
import pytest

from larder_cache import Key, LarderError, UncacheableArgument
from larder_cache.decorators import cached, cached_many

server, client, space = decorators_server.server, decorators_server.client, decorators_server.space


def test_only_missing_items_are_computed_in_one_call(client, space):
    calls = []

    @cached_many(60, client=client, namespace=space)
    def get_users(ids, lang="en"):
        calls.append(list(ids))
        return {i: [i, lang] for i in ids if i != 404}

    assert get_users([1, 2, 404]) == {1: [1, "en"], 2: [2, "en"]}
    assert get_users([3, 2, 1, 3]) == {3: [3, "en"], 2: [2, "en"], 1: [1, "en"]}
    assert list(get_users((3, 1))) == [3, 1]
    assert get_users(ids=[1], lang="de") == {1: [1, "de"]}
    assert calls == [[1, 2, 404], [3], [1]]
    assert get_users([]) == {} and len(calls) == 3


def test_entries_are_shared_with_a_function_of_one(client, space):
    calls = []

    @cached(client=client, namespace=space, key="user:{user_id}")
    def get_user(user_id):
        calls.append(user_id)
        return user_id

    @cached_many(client=client, namespace=space, key="user:{item}", tags=["u{item}"])
    def get_users(ids):
        calls.append(ids)
        return {i: i for i in ids}

    assert get_users([1, 2]) == {1: 1, 2: 2}
    assert get_user(1) == 1 and calls == [[1, 2]]
    assert get_user.get(1).tags == ("u1",)


def test_its_helpers(client, space):
    calls = []

    @cached_many(60, client=client, namespace=space, name="many", argument="ids")
    def f(lang, ids):
        calls.append(ids)
        return {i: len(calls) for i in ids}

    assert f.key(1, lang="en") == Key("many", {"lang": '"en"', "item": "1"})
    assert not f.get([1], lang="en")[1].found
    assert f("en", [1]) == {1: 1} == f(lang="en", ids=[1])
    assert f.refresh("en", [1]) == {1: 2} == f("en", [1])
    assert f.set({1: 9, 2: 8}, lang="en")[2] and f("en", [1, 2]) == {1: 9, 2: 8}
    assert f.get([2], lang="en")[2].ttl_remaining <= 60
    assert f.invalidate([1, 3], lang="en")[1].deleted
    assert f("en", [1, 2]) == {1: 3, 2: 8}
    assert f.bypass("en", [5]) == {5: 4}
    assert f.original("en", [5]) == {5: 5}


def test_its_options(client, space):
    calls = []
    on = True

    @cached_many(
        ttl=lambda call, result: 60 + call.item,
        client=client,
        namespace=space,
        enabled=lambda: on,
        skip_cache_fn=lambda call: call.item == 1,
        cache_if=lambda result: result != 2,
        refresh=lambda call: call.item == 3,
        cache_none=False,
        ignore=("db",),
    )
    def f(items, db=None):
        calls.append(items)
        return {i: None if i == 5 else i for i in items}

    want = {1: 1, 2: 2, 3: 3, 4: 4, 5: None}
    assert f([1, 2, 3, 4, 5], object()) == want == f([1, 2, 3, 4, 5])
    assert calls == [[1], [2, 4, 5], [3], [1], [2, 5], [3]]
    assert 63 < f.get([4])[4].ttl_remaining <= 64
    on = False
    f([4])
    assert calls[-1] == [4]


def test_many_items_take_several_calls(client, space):
    @cached_many(client=client, namespace=space)
    def f(items):
        return {i: i for i in items}

    assert len(f(range(2500))) == 2500
    assert all(result.found for result in f.get(range(2500)).values())


@dataclasses.dataclass
class User:
    id: int


def test_the_type_of_a_value(client, space):
    @cached_many(client=client, namespace=space, type=User)
    def f(ids):
        return {i: User(i) for i in ids}

    assert f([1]) == f([1]) == {1: User(1)}


def test_a_coroutine_function(server, space):
    async def main():
        async with server.async_client() as client:
            calls = []

            @cached_many(client=client, namespace=space)
            async def f(ids):
                calls.append(ids)
                return {i: i for i in ids}

            assert await f([1, 2]) == {1: 1, 2: 2} == await f([1, 2])
            assert await f.refresh([1]) == {1: 1} and calls == [[1, 2], [1]]
            assert (await f.get([1]))[1].value == 1
            assert (await f.set({3: 4}))[3] and await f([3]) == {3: 4}
            assert (await f.invalidate([3]))[3].deleted
            assert await f.bypass([3]) == {3: 3}

    asyncio.run(main())


def test_errors(client, space):
    @cached_many(client=client, namespace=space, name="f")
    def f(ids):
        return [1]

    @cached_many(client=client, namespace=space, name="g")
    def g(ids):
        raise KeyError("gone")

    with pytest.raises(TypeError, match="f must return a mapping"):
        f([1])
    with pytest.raises(KeyError, match="gone"):
        g([1])
    with pytest.raises(UncacheableArgument, match="the argument item of f"):
        f([object()])
    with pytest.raises(ValueError, match="argument must be a parameter"):
        cached_many(argument="nope")(f.original)
    with pytest.raises(ValueError, match="'{ids}' names 'ids'"):
        cached_many(key="{ids}")(f.original)
    with pytest.raises(LarderError):
        cached_many("soon")(f.original)
