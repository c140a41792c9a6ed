"""Functions that cannot be cached are refused when they are decorated."""

import asyncio
import functools
import pickle

import decorators_server
import pytest

from larder_cache.decorators import cache_result, cached, cached_many

server, client, space = decorators_server.server, decorators_server.client, decorators_server.space


def generator():
    yield 1


async def async_generator():
    yield 1


async def coroutine_function():
    return 1


@functools.wraps(coroutine_function)
def around(*args):
    return coroutine_function(*args)


class Items:
    def __call__(self):
        yield 1


@pytest.mark.parametrize("decorator", [cached, cache_result, cached_many])
@pytest.mark.parametrize(
    ("function", "error"),
    [
        (generator, "generator is a generator, which can be read only once"),
        (async_generator, "async_generator is an asynchronous generator"),
        (5, "decorates a function, not 5"),
        (int, "decorates a function, not <class 'int'>"),
    ],
)
def test_generators_and_what_is_no_function(decorator, function, error):
    with pytest.raises(TypeError) as caught:
        decorator(namespace="n")(function)
    assert error in str(caught.value)


def test_a_blocking_function_around_a_coroutine_function():
    with pytest.raises(TypeError, match="blocking function around a coroutine function"):
        cached()(around)


def test_objects_whose_call_is_a_generator():
    with pytest.raises(TypeError, match="is a generator"):
        cached(name="f")(Items())


def test_a_function_that_returns_a_coroutine_or_a_generator_is_found_out(client, space):
    @cached(client=client, namespace=space, name="f")
    def f():
        return coroutine_function()

    @cached(client=client, namespace=space, name="g")
    def g():
        return generator()

    with pytest.raises(TypeError, match="f returned a coroutine, which can be used only once"):
        f()
    with pytest.raises(TypeError, match="g returned a generator"):
        g()


def test_without_parentheses():
    @cached
    def f():
        return 0

    with pytest.raises(TypeError, match=r"used with parentheses: @cached\(\)"):
        f(1)


def test_twice(client):
    with pytest.raises(TypeError, match="is already cached"):
        cached()(cached(client=client)(generator_free))


def generator_free():
    return 0


async def _key(call):
    return "k"


@pytest.mark.parametrize(
    "option", ["key_builder", "ttl", "cache_if", "skip_cache_fn", "tags", "refresh"]
)
def test_an_asynchronous_option_of_a_blocking_function(option):
    with pytest.raises(TypeError, match=f"{option} is a coroutine function, but"):
        cached(**{option: _key})(generator_free)


def test_an_asynchronous_user_of_a_blocking_function():
    with pytest.raises(TypeError, match="cache_by_user is a coroutine function"):
        cached(cache_by_user=_key)(generator_free)


plain = cached(client=lambda: None)(generator_free)


def test_a_decorated_function_is_pickled_by_name():
    globals()["generator_free"], kept = plain, generator_free
    try:
        assert pickle.loads(pickle.dumps(plain)) is plain
    finally:
        globals()["generator_free"] = kept


def test_objects_with_call_are_functions(client, space):
    class Sum:
        def __call__(self, a, b=1):
            return a + b

    class AsyncSum:
        async def __call__(self, a, b=1):
            return a + b

    f = cached(client=client, namespace=space, name="sum")(Sum())
    assert f(1) == f(a=1, b=1) == 2
    g = cached(client=lambda: None, namespace=space, name="asum", enabled=False)(AsyncSum())
    assert asyncio.run(g(1)) == 2


def test_tags_of_a_function_are_several(client, space):
    @cached(namespace=space, client=client, tags=lambda call: "user:1")
    def f():
        return 1

    with pytest.raises(TypeError, match="tags"):
        f()

    @cached(namespace=space, client=client, tags=lambda call: None)
    def g():
        return 1

    assert g() == 1 and g.get().tags == ()


@pytest.mark.parametrize("decorator", [cached, cached_many])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_stale", "soon"),
        ("max_stale", -1),
        ("fetch_timeout", "soon"),
        ("fetch_timeout", -1),
        ("on_error", "ignore"),
        ("near_cache", 7),
    ],
)
def test_wrong_options_are_refused_when_a_function_is_decorated(decorator, option, value):
    with pytest.raises((TypeError, ValueError), match=option):
        decorator(**{option: value})(lambda_free)


def lambda_free(ids):
    return {}
