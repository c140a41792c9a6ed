"""Rules of events, as in the configuration of the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union

from larder_cache._gen import cache_service_pb2 as pb
from larder_cache.testing._errors import invalid

Rule = Callable[[dict[str, str]], "Iterable[pb.Target]"]
Rules = Union[Rule, Mapping[str, Any], "Sequence[Mapping[str, Any]]"]

_KINDS = ("pattern", "key", "tags")
_SETTINGS = {"namespace", "params", "when", *_KINDS}
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")
_SPECIAL = re.compile(r"[*?\[\]\\]")


def rule_of(event: str, rules: Rules) -> Rule:
    """The function from the attributes of an event to its targets. Raises `ValueError`."""
    if callable(rules):
        return rules
    listed = [rules] if isinstance(rules, Mapping) else list(rules)
    compiled = [_Configured(f"events[{event!r}]", each) for each in listed]
    return lambda attributes: [target for rule in compiled for target in rule.targets(attributes)]


class _Configured:
    """One rule of the configuration."""

    def __init__(self, place: str, settings: Mapping[str, Any]) -> None:
        if not isinstance(settings, Mapping):
            raise TypeError(f"{place} must be a rule or a function, not {settings!r}")
        unknown = sorted(set(settings) - _SETTINGS)
        if unknown:
            raise ValueError(f"{place} has the unknown setting {unknown[0]!r}")
        if not settings.get("namespace"):
            raise ValueError(f"{place} must have a namespace")
        if sum(kind in settings for kind in _KINDS) > 1:
            raise ValueError(f"{place} has more than one of {', '.join(_KINDS)}")
        if "params" in settings and "key" not in settings:
            raise ValueError(f"{place} has params without a key")
        self._settings = settings
        for text in self._texts():
            for found in _FIELD.finditer(text):
                if found[0] in ("{", "}"):
                    raise ValueError(f"{place}: {text!r} is not a template")

    def _texts(self) -> list[str]:
        settings = self._settings
        single = [settings[kind] for kind in ("pattern", "key") if kind in settings]
        return [*single, *settings.get("tags", ()), *settings.get("params", {}).values()]

    def targets(self, attributes: Mapping[str, str]) -> list[pb.Target]:
        """The targets for these attributes; none if a condition does not hold."""
        settings = self._settings
        when: Mapping[str, str] = settings.get("when", {})
        if any(attributes.get(name) != value for name, value in when.items()):
            return []
        namespace: str = settings["namespace"]
        if "pattern" in settings:
            glob = _filled(settings["pattern"], attributes, escape=True)
            return [pb.Target(pattern=pb.PatternTarget(namespace=namespace, glob=glob))]
        if "key" in settings:
            params = {
                name: _filled(text, attributes) for name, text in settings.get("params", {}).items()
            }
            key = _filled(settings["key"], attributes)
            return [pb.Target(key=pb.KeyRef(namespace=namespace, key=key, params=params))]
        if "tags" in settings:
            tags = [_filled(tag, attributes) for tag in settings["tags"]]
            return [pb.Target(tags=pb.TagTarget(namespace=namespace, tags=tags))]
        return [pb.Target(namespace=namespace)]


def _filled(text: str, attributes: Mapping[str, str], *, escape: bool = False) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0][0]
        names = found[1].split("|")
        value = next((attributes[name] for name in names if attributes.get(name)), None)
        if value is None:
            raise invalid(f"attributes.{names[0]}", "must be set: a rule of the event needs it")
        # A value never widens a pattern.
        return _SPECIAL.sub(r"\\\g<0>", value) if escape else value

    return _FIELD.sub(value, text)
