"""The parameters of an endpoint of FastAPI or Starlette: which of them can be part of a key."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from .starlette_dependencies import SourcesOfRoute

#: Parameters that are added to an endpoint that has none for the request or the response.
REQUEST, RESPONSE = "larder_request", "larder_response"

_INJECTED_TYPES = (HTTPConnection, Response, BackgroundTasks)
_INJECTED_MARKERS = ("Depends", "Security")
_BODY_MARKERS = ("Body", "Form", "File")


class Shape:
    """The parameters of an endpoint, with its annotations resolved."""

    def __init__(self, function: Callable[..., Any], *, inject: bool) -> None:
        self.function = function
        self.sources = SourcesOfRoute()
        hints = _hints(function)
        signature = inspect.signature(function)
        parameters = [
            p.replace(annotation=_annotation(p, hints)) for p in signature.parameters.values()
        ]
        self.request_name = _first_of(parameters, HTTPConnection)
        self.response_name = _first_of(parameters, Response)
        self._kinds = {p.name: _kind(p) for p in parameters}
        self.aliases = {p.name: _alias(p) for p in parameters}
        #: Whether the endpoint has dependencies, whose sessions end with the request.
        self.has_dependencies = "dependency" in self._kinds.values()
        self.reads_request = self.request_name is not None or self.has_dependencies
        self.reads_body = self.request_name is not None or "body" not in self._kinds.values()
        added = []
        if inject and self.request_name is None:
            added.append(_added(REQUEST, Request))
        if inject and self.response_name is None:
            added.append(_added(RESPONSE, Response))
        split = next(
            (i for i, p in enumerate(parameters) if p.kind is p.VAR_KEYWORD), len(parameters)
        )
        self.original = signature.replace(parameters=parameters)
        self.signature = signature.replace(
            parameters=[*parameters[:split], *added, *parameters[split:]],
            return_annotation=hints.get("return", signature.return_annotation),
        )

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, with the defaults."""
        bound = self.original.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def key_arguments(
        self, arguments: Mapping[str, Any], listed: Sequence[str] | None, path: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The arguments that are part of the key: what is neither injected nor left out."""
        found = {}
        for name, value in arguments.items():
            kind = self._kinds.get(name, "injected")
            if kind in ("injected", "dependency") or isinstance(value, _INJECTED_TYPES):
                continue
            is_query = kind == "query" or (kind == "plain" and name not in path)
            if listed is not None and is_query and self.aliases[name] not in listed:
                if name not in listed:
                    continue
            found[name] = value
        return found

    def declared_query(self, path: Mapping[str, Any]) -> frozenset[str]:
        """The query parameters that arguments hold, so that the query itself need not."""
        return frozenset(
            self.aliases[name]
            for name, kind in self._kinds.items()
            if kind in ("query", "plain") and name not in path
        )

    def probable_path(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the path, as far as that is clear without a request."""
        return {
            name: value
            for name, value in arguments.items()
            if self._kinds.get(name) == "plain"
            and self.original.parameters[name].default is inspect.Parameter.empty
        }


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types. One that cannot be resolved stays as it is written."""
    names = getattr(inspect.unwrap(function), "__globals__", {})
    found: dict[str, Any] = {}
    try:
        annotations = getattr(function, "__annotations__", {})
    except NameError:
        # Python 3.14 resolves annotations only now.
        return found
    for name, written in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: written})
        try:
            found.update(typing.get_type_hints(holder, names, include_extras=True))
        except (NameError, TypeError, AttributeError, SyntaxError):
            found[name] = written
    return found


def _annotation(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    found = hints.get(parameter.name, parameter.annotation)
    if found is parameter.empty and parameter.name == "request":
        return Request
    return found


def _classes(annotation: Any) -> list[type]:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    choices = typing.get_args(annotation) if typing.get_origin(annotation) else (annotation,)
    return [choice for choice in choices if isinstance(choice, type)]


def _first_of(parameters: Sequence[inspect.Parameter], kind: type) -> str | None:
    for parameter in parameters:
        if any(issubclass(each, kind) for each in _classes(parameter.annotation)):
            return parameter.name
    return None


def _markers(parameter: inspect.Parameter) -> list[Any]:
    found: list[Any] = []
    if typing.get_origin(parameter.annotation) is typing.Annotated:
        found += typing.get_args(parameter.annotation)[1:]
    if parameter.default is not parameter.empty:
        found.append(parameter.default)
    return found


def _marker_names(marker: Any) -> set[str]:
    """The names of the classes of FastAPI that a marker such as ``Depends()`` has."""
    return {kind.__name__ for kind in type(marker).__mro__ if kind.__module__ == "fastapi.params"}


def _kind(parameter: inspect.Parameter) -> str:
    """dependency, injected, query, body, other (path, header, cookie), or plain: path or query."""
    for marker in _markers(parameter):
        names = _marker_names(marker)
        if names.intersection(_INJECTED_MARKERS):
            return "dependency"
        if "Query" in names:
            return "query"
        if names.intersection(_BODY_MARKERS):
            return "body"
        if names:
            return "other"
    for each in _classes(parameter.annotation):
        if issubclass(each, _INJECTED_TYPES) or each.__name__ == "SecurityScopes":
            return "injected"
        if _is_record(each):
            return "body"
    if parameter.name in ("self", "cls"):
        return "injected"
    return "plain"


def _is_record(kind: type) -> bool:
    return hasattr(kind, "model_fields") or dataclasses.is_dataclass(kind)


def _alias(parameter: inspect.Parameter) -> str:
    for marker in _markers(parameter):
        alias = getattr(marker, "alias", None)
        if isinstance(alias, str) and _marker_names(marker):
            return alias
    return parameter.name


def _added(name: str, kind: type) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind)
