"""Methods of all kinds, and inheritance."""

import decorators_server

from larder_cache.decorators import cached

server, client, space = decorators_server.server, decorators_server.client, decorators_server.space


def test_methods_of_objects_classes_and_none(client, space):
    calls = []

    class Repo:
        @cached(client=client, namespace=space)
        def of_object(self, a):
            calls.append(("object", a))
            return a

        @cached(client=client, namespace=space)
        @classmethod
        def of_class(cls, a):
            calls.append((cls.__name__, a))
            return a

        @classmethod
        @cached(client=client, namespace=space)
        def of_class_below(cls, a):
            calls.append(("below", a))
            return a

        @cached(client=client, namespace=space)
        @staticmethod
        def of_none(a):
            calls.append(("static", a))
            return a

        @staticmethod
        @cached(client=client, namespace=space)
        def of_none_below(a):
            calls.append(("static below", a))
            return a

    repo, other = Repo(), Repo()
    for _ in range(2):
        assert repo.of_object(1) == other.of_object(a=1) == Repo.of_object(repo, 1) == 1
        assert Repo.of_class(2) == repo.of_class(a=2) == 2
        assert Repo.of_class_below(3) == repo.of_class_below(3) == 3
        assert Repo.of_none(4) == repo.of_none(4) == 4
        assert Repo.of_none_below(5) == repo.of_none_below(a=5) == 5
    assert calls == [("object", 1), ("Repo", 2), ("below", 3), ("static", 4), ("static below", 5)]


def test_the_helpers_are_bound_too(client, space):
    class Repo:
        factor = 2

        @cached(client=client, namespace=space)
        def f(self, a):
            return a * self.factor

        @cached(client=client, namespace=space)
        @classmethod
        def g(cls, a):
            return a * cls.factor

    repo = Repo()
    assert repo.f(1) == 2 and repo.f.get(1).value == 2
    assert repo.f.bypass(3) == 6 == repo.f.original(3) and repo.f.refresh(3) == 6
    assert repo.f.set(9, 3) and repo.f(3) == 9 and repo.f.invalidate(3).deleted
    assert repo.f.key(1) == Repo.f.key(repo, 1)
    assert Repo.g(2) == 4 and Repo.g.get(2).value == 4 and repo.g.invalidate(2).deleted
    assert Repo.g.original(5) == 10 == Repo.g.bypass(5)


def test_a_method_whose_first_argument_has_another_name(client, space):
    class Repo:
        @cached(client=client, namespace=space)
        def f(this, a):  # noqa: N805
            return a

    assert list(Repo().f.key(1).params) == ["a"]


def test_a_subclass_has_the_entries_of_its_base_unless_it_overrides(client, space):
    class Base:
        @cached(client=client, namespace=space)
        def f(self):
            return "base"

    class Derived(Base):
        @cached(client=client, namespace=space)
        def f(self):
            return "derived:" + super().f()

    assert (Base().f(), Derived().f(), Base().f()) == ("base", "derived:base", "base")
