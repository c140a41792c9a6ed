"""The key of a call: its name, and its arguments as params."""

from __future__ import annotations

import functools
import inspect
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .callbacks import Callback
from .canonical import NotCanonical, canonical
from .errors import uncacheable_argument
from .templates import Template, glob_escape

log = logging.getLogger("larder_cache")

# The functions that are alive, by their names: to find closures that differ, but have one name.
_named: weakref.WeakValueDictionary[str, Callable[..., Any]] = weakref.WeakValueDictionary()


class CallKey(NamedTuple):
    """The name of the entry of a call within its namespace."""

    key: str
    params: Mapping[str, str] = {}


class Call(Mapping[str, Any]):
    """One call of a decorated function, as callbacks see it: its arguments by name.

    All arguments are there, with their defaults, also those that are not part of the key.
    ``call["user_id"]`` and ``call.user_id`` are the same.
    """

    __slots__ = ("_arguments", "args", "function", "kwargs")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        arguments: Mapping[str, Any],
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self._arguments = arguments

    def __getitem__(self, name: str) -> Any:
        return self._arguments[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._arguments[name]
        except KeyError:
            about = f"{self.function!r} has no argument {name!r}"
            raise AttributeError(about) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arguments)

    def __len__(self) -> int:
        return len(self._arguments)


class CallKeys:
    """Makes the keys of the calls of one function.

    ``ignore`` has names of arguments and types whose values are left out. ``key_self`` makes the
    object of a method part of the key: True (its canonical form), the path of an attribute such
    as ``"id"``, or a callable.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        template: str | None = None,
        key_builder: Callback | None = None,
        ignore: Sequence[str | type] = (),
        key_self: bool | str | Callable[[Any], Any] = False,
        is_method: bool = False,
    ) -> None:
        self.function = function
        self.name = name
        self.signature = inspect.signature(function)
        self.key_builder = key_builder
        names = tuple(self.signature.parameters)
        self.self_name = names[0] if names and (is_method or names[0] in ("self", "cls")) else None
        self.key_self = key_self
        self.ignored = frozenset(item for item in ignore if isinstance(item, str))
        self.ignored_types = tuple(item for item in ignore if isinstance(item, type))
        _check_ignore(ignore, names)
        self.template = None if template is None else Template(template)
        if self.template is not None:
            self.template.require(names)
        self._constant = not names

    def mark_method(self) -> None:
        """The first argument is the object or class of a method."""
        if self.self_name is None:
            self.self_name = next(iter(self.signature.parameters), None)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        """The call with these arguments. Raises TypeError if the function cannot be called so."""
        if self._constant and not args and not kwargs:
            return Call(self.function, args, kwargs, {})
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return Call(self.function, args, kwargs, bound.arguments)

    def key(self, call: Call) -> CallKey:
        """The key of a call without a key builder.

        Raises UncacheableArgument, which names the argument, if one cannot be part of a key.
        """
        if self.template is None:
            return CallKey(self.name, self._params(call, frozenset()))
        key, unclear = self.template.render(call, self._refuse)
        params = self._params(call, self.template.names)
        for name in sorted(unclear):
            params.update(self._unclear(name, call, self.template))
        return CallKey(key, params)

    def _unclear(self, name: str, call: Call, template: Template) -> dict[str, str]:
        """The params of an argument that the text of the key does not show clearly."""
        # An object of a method may have no canonical form, but what the template takes of it has.
        values = template.fields_of(name, call) if name == self.self_name else {name: call[name]}
        try:
            return {field: canonical(value) for field, value in values.items()}
        except NotCanonical as error:
            raise self._refuse(name, error) from None

    def built_key(self, built: object) -> CallKey:
        """The key that a key builder returned."""
        if isinstance(built, CallKey):
            return built
        if not isinstance(built, str) or not built:
            raise TypeError(
                f"key_builder of {self.name} must return a text that is not empty, not {built!r}"
            )
        return CallKey(built)

    def glob(self) -> str:
        """A glob that matches the keys of all calls. Raises ValueError with a key builder."""
        if self.key_builder is not None:
            raise ValueError(f"the keys of {self.name} are built: invalidate them by their tags")
        if self.template is None:
            return glob_escape(self.name)
        return self.template.glob()

    def _params(self, call: Call, shown: frozenset[str]) -> dict[str, str]:
        params: dict[str, str] = {}
        for name, value in call.items():
            if name == self.self_name:
                if name in shown or not self._has_self(value):
                    continue
                value = self._self_value(value)
            elif name in shown or name in self.ignored:
                continue
            elif self.ignored_types and isinstance(value, self.ignored_types):
                continue
            try:
                params[name] = canonical(value)
            except NotCanonical as error:
                raise self._refuse(name, error) from None
        return params

    def _has_self(self, instance: object) -> bool:
        kind = instance if isinstance(instance, type) else type(instance)
        return self.key_self is not False or hasattr(kind, "__larder_key__")

    def _self_value(self, instance: Any) -> object:
        if callable(self.key_self):
            return self.key_self(instance)
        if isinstance(self.key_self, str):
            return functools.reduce(getattr, self.key_self.split("."), instance)
        if isinstance(instance, type):
            # A class has no canonical form of its own; its name is stable, its address is not.
            return f"{instance.__module__}:{instance.__qualname__}"
        return instance

    def _refuse(self, name: str, error: NotCanonical) -> Exception:
        return uncacheable_argument(self.name, name, error)


def _check_ignore(ignore: Sequence[str | type], names: tuple[str, ...]) -> None:
    if isinstance(ignore, str):
        raise TypeError(f"ignore must be a sequence of names or types, such as ({ignore!r},)")
    for item in ignore:
        if isinstance(item, type):
            continue
        if not isinstance(item, str):
            raise TypeError(f"ignore has {item!r}, which is neither a name nor a type")
        if item not in names:
            raise ValueError(
                f"ignore names {item!r}, which is not an argument "
                f"(they are: {', '.join(names) or 'none'})"
            )


def function_name(function: Callable[..., Any]) -> str:
    """``module:qualified.name``. Equal names in different modules stay different.

    Raises ValueError for a function without a name of its own, such as a lambda.
    """
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if not name or not module or name.rpartition(".")[2] == "<lambda>":
        raise ValueError(f"{function!r} has no name of its own: give it one with name= or key=")
    full_name = f"{module}:{name}"
    other = _named.get(full_name)
    if other is not None and other is not function:
        log.warning(
            "two functions are named %s and share their entries: give one another name=", full_name
        )
    _named[full_name] = function
    return full_name
