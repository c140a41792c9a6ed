"""Templates of keys, such as ``user:{user_id}`` or ``{company.id}:{status}``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from string import Formatter
from typing import Any

from .canonical import NotCanonical, canonical, plain_text

_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[([^\[\]]+)\]")
_SPECIAL = re.compile(r"[*?\[\]\\]")
_ROOT = re.compile(r"[A-Za-z_]\w*")
# The text of values that are no text: an equal text must not share their key.
_LOOKS_TYPED = re.compile(
    r"null|true|false|-?\d+(?:\.\d+)?e[+-]?\d+|-?\d+\.\d+|[\[{].*", re.ASCII | re.DOTALL
)


class Template:
    """A text with fields in braces. ``{{`` and ``}}`` stand for braces.

    A field is the name of an argument, then any number of ``.attribute`` and ``[item]``.
    """

    def __init__(self, text: str, *, option: str = "key") -> None:
        self.text = text
        self.option = option
        self._parts: list[tuple[str, _Field | None]] = []
        try:
            parsed = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{option}: {text!r} is not a template: {error}") from None
        for literal, field, spec, conversion in parsed:
            if spec or conversion:
                raise ValueError(f"{option}: {text!r} has a format; a field is only a name")
            self._parts.append((literal, None if field is None else _Field(field, self)))
        #: The arguments that the template names.
        self.names = frozenset(field.root for _, field in self._parts if field is not None)
        fields = [i for i, (_, field) in enumerate(self._parts) if field is not None]
        self._inner = [self._parts[i][0] for i in fields[1:]]
        self._separators = frozenset("".join(self._inner))

    def require(self, known: Collection[str]) -> None:
        """Raises ValueError if the template names an argument that there is not."""
        missing = sorted(name for name in self.names if name not in known)
        if missing:
            raise ValueError(
                f"{self.option}: {self.text!r} names {missing[0]!r}, which is not an argument "
                f"(they are: {', '.join(known) or 'none'})"
            )

    def render(self, arguments: Mapping[str, Any], refuse: Refuse) -> tuple[str, frozenset[str]]:
        """The text for these arguments, and the arguments that it does not show clearly.

        ``a:b`` is the text of two different pairs for ``{x}:{y}`` if values may have a colon.
        The caller adds such arguments in another way.
        """
        text: list[str] = []
        unclear: set[str] = set()
        for literal, field in self._parts:
            text.append(literal)
            if field is None:
                continue
            try:
                part, is_clear = shown(field.value(arguments))
            except NotCanonical as error:
                raise refuse(field.root, error) from None
            if not is_clear or (self._inner and self._is_split(part)):
                unclear.add(field.root)
            text.append(part)
        return "".join(text), frozenset(unclear)

    def fields_of(self, root: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all fields of an argument, by their text."""
        return {
            field.text: field.value(arguments)
            for _, field in self._parts
            if field is not None and field.root == root
        }

    def glob(self) -> str:
        """A glob that matches all texts of the template."""
        return "".join(
            glob_escape(literal) + ("" if field is None else "*") for literal, field in self._parts
        )

    def _is_split(self, part: str) -> bool:
        return "" in self._inner or not self._separators.isdisjoint(part)


def glob_escape(text: str) -> str:
    """The glob that matches this text only."""
    return _SPECIAL.sub(r"\\\g<0>", text)


Refuse = Callable[[str, NotCanonical], Exception]


class _Field:
    def __init__(self, text: str, template: Template) -> None:
        root = _ROOT.match(text)
        if root is None:
            raise ValueError(
                f"{template.option}: {template.text!r} has the field {{{text}}}; "
                "a field begins with the name of an argument"
            )
        self.text = text
        self.root = root.group()
        self.steps: list[tuple[str | None, str | int | None]] = []
        position = root.end()
        while position < len(text):
            step = _STEP.match(text, position)
            if step is None:
                raise ValueError(
                    f"{template.option}: {template.text!r} has the field {{{text}}}; after the "
                    "name only .attribute and [item] are possible"
                )
            attribute, item = step.groups()
            self.steps.append((attribute, _item(item)))
            position = step.end()

    def value(self, arguments: Mapping[str, Any]) -> object:
        value = arguments[self.root]
        for attribute, item in self.steps:
            try:
                value = getattr(value, attribute) if attribute is not None else value[item]
            except (AttributeError, LookupError, TypeError) as error:
                step = f".{attribute}" if attribute is not None else f"[{item}]"
                raise NotCanonical(f"the template asks for {step}: {error!r}") from None
        return value


def _item(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdecimal() else text


def shown(value: object) -> tuple[str, bool]:
    """The text of a value, and whether no value of another type has the same text.

    An integer and its text do share their text: paths and queries hold both.
    """
    if type(value) is str:
        canonical(value)
        return value, _LOOKS_TYPED.fullmatch(value) is None
    text = plain_text(value)
    if text is not None:
        return text, False
    form = canonical(value)
    if form.startswith('"'):
        # A text within another type, such as an enum or __larder_key__.
        inner: str = json.loads(form)
        return inner, _LOOKS_TYPED.fullmatch(inner) is None
    return form, True
