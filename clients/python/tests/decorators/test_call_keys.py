"""Keys of calls: binding, templates, ignored arguments, methods, builders."""

import decorators_server
import pytest

from larder_cache import UncacheableArgument
from larder_cache.decorators import CallKey, cached
from larder_cache.decorators.calls import CallKeys

server, client, space = decorators_server.server, decorators_server.client, decorators_server.space


class Session:
    """A connection to a database: it must never be part of a key."""


def test_all_spellings_of_a_call_have_one_key(client, space):
    @cached(client=client, namespace=space)
    def f(a, b=2, *rest, c=3, **more):
        return a

    name = f"{__name__}:test_all_spellings_of_a_call_have_one_key.<locals>.f"
    params = {"a": "1", "b": "2", "rest": "[]", "c": "3", "more": "{}"}
    assert f.key(1) == CallKey(name, params)
    assert f.key(a=1) == f.key(1, 2) == f.key(1, b=2) == f.key(b=2, a=1) == f.key(1, c=3)
    assert f.key(1, 2, 9) != f.key(1)
    assert f.key(1, z=1, y=2) == f.key(1, y=2, z=1) != f.key(1)
    assert f.key("1") != f.key(1)
    assert f.key(1.0) == f.key(1)
    assert f.key(True) != f.key(1)


def test_equal_names_in_different_modules_do_not_collide(client, space):
    def make(module):
        def f():
            return module

        f.__module__ = module
        return cached(client=client, namespace=space)(f)

    one, two = make("one"), make("two")
    assert (one(), two(), one()) == ("one", "two", "one")


def test_an_argument_that_a_template_names_is_no_param(client, space):
    @cached(client=client, namespace=space, key="user:{user_id}:{status}")
    def f(user_id, status="all", lang="en"):
        return 0

    assert f.key(7) == CallKey("user:7:all", {"lang": '"en"'})
    assert f.key("7") == f.key(7)


def test_texts_that_a_template_could_mix_up_are_params_too(client, space):
    @cached(client=client, namespace=space, key="{a}:{b}")
    def f(a, b):
        return f"{a}|{b}"

    assert f.key("a:b", "c").key == f.key("a", "b:c").key
    assert f("a:b", "c") == "a:b|c"
    assert f("a", "b:c") == "a|b:c"
    assert f.key("a", "b") == CallKey("a:b", {})


@pytest.mark.parametrize(
    ("one", "two"), [(None, "null"), (True, "true"), (1.5, "1.5"), ([1], "[1]")]
)
def test_a_text_that_looks_like_another_type_has_another_key(client, space, one, two):
    @cached(client=client, namespace=space, key="x:{a}")
    def f(a):
        return a

    assert f.key(one) != f.key(two)


def test_a_template_reads_attributes_and_items(client, space):
    class User:
        id = 7

    @cached(client=client, namespace=space, key="{user.id}:{tags[0]}:{{x}}")
    def f(user, tags):
        return 0

    assert f.key(User(), ["t"]) == CallKey("7:t:{x}", {})
    with pytest.raises(UncacheableArgument, match=r"the argument tags of .* asks for \[0\]"):
        f.key(User(), [])


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ("{nobody}", "key: '{nobody}' names 'nobody'"),
        ("{a!r}", "only a name"),
        ("{a:>3}", "only a name"),
        ("{a.}", "only .attribute and"),
        ("{", "is not a template"),
        ("{}", "begins with the name"),
    ],
)
def test_a_wrong_template_is_refused_at_decoration(template, error):
    with pytest.raises(ValueError) as caught:
        cached(key=template)(lambda a: a)
    assert error in str(caught.value)


def test_ignored_names_and_types_are_no_params(client, space):
    @cached(client=client, namespace=space, ignore=("db", Session), name="f")
    def f(a, db, other):
        return a

    assert f.key(1, object(), Session()) == CallKey("f", {"a": "1"})
    assert f.key(1, object(), 2) == CallKey("f", {"a": "1", "other": "2"})


def test_ignore_is_checked():
    with pytest.raises(ValueError, match="ignore names 'dbb'"):
        cached(ignore=("dbb",), name="f")(lambda db: db)
    with pytest.raises(TypeError, match="ignore must be a sequence"):
        cached(ignore="db", name="f")(lambda db: db)
    with pytest.raises(TypeError, match="ignore has 3"):
        cached(ignore=(3,), name="f")(lambda db: db)


def test_an_argument_that_cannot_be_a_key_is_named(client, space):
    @cached(client=client, namespace=space, name="f")
    def f(a, db):
        return a

    with pytest.raises(UncacheableArgument, match=r"the argument db of f cannot be cached"):
        f(1, Session())
    with pytest.raises(UncacheableArgument, match=r"the argument a\[0\].x of f"):
        f([{"x": Session()}], None)


def test_self_is_left_out_unless_it_has_a_key(client, space):
    class Plain:
        @cached(client=client, namespace=space, name="plain")
        def f(self, a):
            return a

    class Keyed:
        def __init__(self, number):
            self.number = number

        def __larder_key__(self):
            return self.number

        @cached(client=client, namespace=space, name="keyed")
        def f(self, a):
            return self.number

    class ById:
        def __init__(self, number):
            self.number = number

        @cached(client=client, namespace=space, name="by-id", key_self="number")
        def f(this, a):  # noqa: N805
            return this.number

    assert Plain().f.key(1) == CallKey("plain", {"a": "1"})
    assert Keyed(5).f.key(1) == CallKey("keyed", {"self": "5", "a": "1"})
    assert (Keyed(5).f(1), Keyed(6).f(1)) == (5, 6)
    assert ById(3).f.key(1) == CallKey("by-id", {"this": "3", "a": "1"})


def test_key_self_can_be_a_function_or_the_record_itself(client, space):
    class Repo:
        def __init__(self, table):
            self.table = table

        @cached(client=client, namespace=space, name="f", key_self=lambda repo: repo.table)
        def f(self, a):
            return self.table

        @cached(client=client, namespace=space, name="g", key_self=True)
        def g(self):
            return 0

    assert Repo("t").f.key(1).params == {"self": '"t"', "a": "1"}
    with pytest.raises(UncacheableArgument, match="the argument self of g"):
        Repo("t").g.key()


def test_a_key_builder_gets_what_it_asks_for(client, space):
    seen = []

    def by_name(func, namespace, args, kwargs):
        seen.append((func.__name__, namespace, args, kwargs))
        return "k1"

    @cached(client=client, namespace=space, key_builder=by_name)
    def f(a, b=2):
        return a

    @cached(client=client, namespace=space, key_builder=lambda c: f"k:{c.a}:{c['b']}", name="g")
    def g(a, b=2):
        return a

    @cached(client=client, namespace=space, key_builder=lambda a: f"a:{a}", name="h")
    def h(a, b=2):
        return a

    assert f.key(1, b=3) == CallKey("k1", {})
    assert seen == [("f", space, (1,), {"b": 3})]
    assert g.key(1) == CallKey("k:1:2", {})
    assert h.key(5) == CallKey("a:5", {})


def test_a_key_builder_must_return_a_text(client, space):
    @cached(client=client, namespace=space, key_builder=lambda call: 5, name="f")
    def f():
        return 0

    with pytest.raises(TypeError, match="key_builder of f must return a text"):
        f()


def test_one_name_for_a_key_only():
    with pytest.raises(TypeError, match="key and key_builder exclude each other"):
        cached(key="a", key_builder=lambda call: "b")(lambda: 0)
    with pytest.raises(TypeError, match="key and key_prefix exclude each other"):
        cached(key="a", key_prefix="b")(lambda: 0)


def test_a_function_without_a_name_needs_one():
    with pytest.raises(ValueError, match="name= or key="):
        cached()(lambda: 0)


def test_the_prefix_takes_the_place_of_the_name(client, space):
    @cached(60, "user", client=client, namespace=space)
    def get_user(user_id):
        return user_id

    assert get_user.key(1) == CallKey("user", {"user_id": "1"})


def test_a_wrong_call_is_a_type_error(client, space):
    @cached(client=client, namespace=space)
    def f(a):
        return a

    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        f()


def test_two_living_functions_of_one_name_are_reported(client, space, caplog):
    def make(number):
        @cached(client=client, namespace=space)
        def f():
            return number

        return f

    one = make(1)
    assert "share their entries" not in caplog.text
    two = make(2)
    assert "make.<locals>.f and share their entries" in caplog.text
    assert (one(), two()) == (1, 1)


def test_what_a_template_takes_of_the_object_never_makes_two_calls_one() -> None:
    class Shop:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        def item(self, name: str) -> None: ...

    keys = CallKeys(Shop.item, name="item", template="{self.tenant}:{name}")
    one, other = (
        keys.key(keys.bind(args, {})) for args in [(Shop("a:b"), "c"), (Shop("a"), "b:c")]
    )
    assert one.key == other.key == "a:b:c"
    assert one.params == {"self.tenant": '"a:b"'} and other.params == {"name": '"b:c"'}


def test_an_ignored_argument_that_the_template_names_is_part_of_the_key() -> None:
    def pair(a: str, b: str) -> None: ...

    keys = CallKeys(pair, name="pair", template="{a}:{b}", ignore=("a", "b"))
    assert keys.key(keys.bind(("a:b", "c"), {})) != keys.key(keys.bind(("a", "b:c"), {}))
