"""The headers and cookies that the injected arguments of an endpoint of FastAPI depend on.

The values of dependencies are not part of a key, but what they are made of must be: a tenant of a
header, or the session of a cookie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Sources(NamedTuple):
    """Names of headers in lower case, and of cookies."""

    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()


#: Requests with it are answered from the cache only by user, or if that is permitted.
_AUTHORIZATION = "authorization"


class SourcesOfRoute:
    """Finds what the dependencies that a route injects into its endpoint read.

    Dependencies of the router, which inject nothing, are not among them. It keeps the answer for
    the last route, since an endpoint has hardly more than one.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, Sources] = (None, Sources())

    def __call__(self, route: Any) -> Sources:
        """The headers and cookies."""
        known, sources = self._last
        if known is not route:
            sources = _sources(getattr(route, "dependant", None))
            self._last = (route, sources)
        return sources


def _sources(dependant: Any) -> Sources:
    headers: set[str] = set()
    cookies: set[str] = set()
    for each in _injected(dependant):
        headers.update(field.alias.lower() for field in getattr(each, "header_params", ()))
        cookies.update(field.alias for field in getattr(each, "cookie_params", ()))
        # Security schemes read the request by themselves.
        scheme: Any = getattr(getattr(each, "call", None), "model", None)
        place = getattr(getattr(scheme, "in_", None), "value", None)
        if place == "header":
            headers.add(scheme.name.lower())
        elif place == "cookie":
            cookies.add(scheme.name)
    return Sources(tuple(sorted(headers - {_AUTHORIZATION})), tuple(sorted(cookies)))


def _injected(dependant: Any) -> Iterator[Any]:
    for each in getattr(dependant, "dependencies", ()):
        if getattr(each, "name", None):
            yield from _with_own(each)


def _with_own(dependant: Any) -> Iterator[Any]:
    yield dependant
    for each in getattr(dependant, "dependencies", ()):
        yield from _with_own(each)
