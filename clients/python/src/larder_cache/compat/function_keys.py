"""Keys of decorated functions as the replaced decorators made them: ``<prefix>:<arg>:<arg>``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from larder_cache.decorators.calls import Call, CallKey
from larder_cache.decorators.canonical import NotCanonical, canonical
from larder_cache.decorators.templates import shown
from larder_cache.errors import UncacheableArgument

from .old_keys import split
from .settings import GENERAL, is_enabled

log = logging.getLogger("larder_cache")


def function_options(function: Any, key_prefix: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of `larder_cache.decorators.cached` for a function of the replaced decorator."""
    inner = getattr(function, "__func__", function)
    made = {"enabled": lambda: is_enabled(default=True), **options}
    if {"key", "key_builder", "name"} & made.keys():
        return made
    name = key_prefix or getattr(inner, "__name__", type(inner).__name__)
    keys = FunctionKeys(inner, name, tuple(made.pop("ignore", ())))
    made.setdefault("namespace", keys.namespace)
    made["key_builder"] = keys.build
    skips = made.get("skip_cache_fn")
    if skips is None:
        made["skip_cache_fn"] = keys.cannot_hold
    return made


class FunctionKeys:
    """The keys of one function."""

    def __init__(
        self, function: Callable[..., Any], name: str, ignored: tuple[str | type, ...]
    ) -> None:
        self._parameters = dict(inspect.signature(function).parameters)
        self._function = function
        self._ignored = ignored
        self._is_reported = False
        has_arguments = any(each not in ("self", "cls") for each in self._parameters)
        if has_arguments and ":" not in name:
            self.namespace, self._start = split(f"{name}:x").namespace, ""
        else:
            self.namespace, self._start = split(name) if name else (GENERAL, "")
        self._name = name

    def build(self, call: Call) -> CallKey:
        """The key of a call. What it does not show clearly is a param, too."""
        parts: list[str] = []
        params: dict[str, str] = {}
        arguments = self._arguments(call)
        for name, value in arguments.items():
            try:
                text, is_clear = shown(value)
                # The parts are joined by colons, so that one more part could have the same text.
                if not is_clear or (":" in text and len(self._parameters) > 1):
                    params[name] = canonical(value)
            except NotCanonical as error:
                raise UncacheableArgument(
                    f"the argument {name}{error.path} of {self._name} cannot be cached: {error}"
                ) from None
            parts.append(text)
        key = ":".join([self._start, *parts] if self._start else parts)
        return CallKey(key or self._name, params)

    def cannot_hold(self, call: Call) -> bool:
        """Whether a key cannot hold the arguments, so that the call is not cached."""
        try:
            self.build(call)
        except UncacheableArgument as error:
            if not self._is_reported:
                self._is_reported = True
                log.warning("not cached, now and later: %s", error)
            return True
        return False

    def _arguments(self, call: Call) -> dict[str, Any]:
        """The arguments of the key, without those at the end that are their defaults."""
        found = {
            name: value
            for name, value in call.items()
            if name not in ("self", "cls") and not self._is_ignored(name, value)
        }
        for name in reversed(list(found)):
            parameter = self._parameters[name]
            is_empty = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            default = (
                (() if parameter.kind is parameter.VAR_POSITIONAL else {})
                if is_empty
                else (parameter.default)
            )
            if type(found[name]) is not type(default) or found[name] != default:
                break
            del found[name]
        return found

    def _is_ignored(self, name: str, value: Any) -> bool:
        return any(
            name == each if isinstance(each, str) else isinstance(value, each)
            for each in self._ignored
        )


def is_keyable(cached: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], bool]:
    """A test whether a decorated function has a key for these arguments; the first no is logged."""
    is_reported = False

    def test(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        nonlocal is_reported
        try:
            cached.key(*args, **kwargs)
        except UncacheableArgument as error:
            if not is_reported:
                is_reported = True
                log.warning("not cached, now and later: %s", error)
            return False
        return True

    return test
