"""The rules of HTTP caching (RFC 9110, RFC 9111) that cached endpoints follow."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from email.utils import formatdate

_DIRECTIVE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*("[^"]*"|[^,]*))?\s*(?:,|$)')
_ENTITY_TAG = re.compile(r'(?:W/)?"[^"]*"')

#: Headers of a connection, of one answer only, or that the server makes itself.
_NOT_KEPT = frozenset(
    {
        "age",
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "server",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-cache",
        "x-cache-date",
        "x-cache-key",
        "x-cache-ttl-remaining",
    }
)

#: Headers that a 304 has (RFC 9110, section 15.4.5), and those of this library.
_KEPT_AT_304 = frozenset(
    {"cache-control", "content-location", "date", "etag", "expires", "vary", "age"}
)


def directives(header: str) -> dict[str, str]:
    """The directives of a Cache-Control header, with names in lower case."""
    # A long run of white space would be tried at each of its places.
    header = " ".join(header.split())
    found: dict[str, str] = {}
    position = 0
    while position < len(header):
        match = _DIRECTIVE.match(header, position)
        if match is None:
            # Text that is no directive is left out, up to the next comma.
            comma = header.find(",", position)
            position = len(header) if comma < 0 else comma + 1
            continue
        found[match.group(1).lower()] = (match.group(2) or "").strip().strip('"')
        position = match.end()
    return found


def refusal(
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    statuses: Collection[int],
    by_user: bool,
    varied: Collection[str],
) -> str | None:
    """Why an answer must not be stored, or None.

    ``varied`` are the request headers, in lower case, that are part of the key.
    """
    if status not in statuses:
        return f"the status is {status}"
    encoded = False
    vary: set[str] = set()
    for name, value in headers:
        name = name.lower()
        if name == "set-cookie":
            return "it sets a cookie"
        if name == "cache-control":
            reason = _cache_control_refusal(value, by_user)
            if reason is not None:
                return reason
        elif name == "vary":
            vary.update(item.strip().lower() for item in value.split(",") if item.strip())
        elif name == "content-encoding":
            encoded = value.strip().lower() not in ("", "identity")
        elif name == "content-range":
            return "it is a part of a representation"
    return _vary_refusal(vary, encoded=encoded, by_user=by_user, varied=varied)


def _cache_control_refusal(value: str, by_user: bool) -> str | None:
    found = directives(value)
    if "no-store" in found:
        return "Cache-Control: no-store"
    if "private" in found and not by_user:
        return "Cache-Control: private"
    return None


def _vary_refusal(
    vary: set[str], *, encoded: bool, by_user: bool, varied: Collection[str]
) -> str | None:
    covered = {name.lower() for name in varied}
    if by_user:
        covered |= {"authorization", "cookie"}
    if not encoded:
        # The stored body is not encoded, so that it fits every client.
        covered.add("accept-encoding")
    elif "accept-encoding" not in covered:
        return "it is encoded, and vary_headers has no accept-encoding"
    missing = sorted(vary - covered)
    if missing:
        return f"Vary: {missing[0]} is not in vary_headers"
    return None


def kept_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of an answer that are stored with it."""
    named = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for option in value.split(",")
    }
    return [(n, v) for n, v in headers if n.lower() not in _NOT_KEPT and n.lower() not in named]


def headers_at_304(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that a 304 repeats."""
    return [
        (name, value)
        for name, value in headers
        if name.lower() in _KEPT_AT_304 or name.lower().startswith("x-cache")
    ]


def entity_tag(version: str) -> str:
    """The ETag of a stored version. It is weak, because the answer may be compressed later."""
    return f'W/"{version}"'


def is_match(if_none_match: str | None, tag: str | None) -> bool:
    """Whether the client has this representation (weak comparison, RFC 9110, section 13.1.2)."""
    if not if_none_match or not tag:
        return False
    if if_none_match.strip() == "*":
        return True
    wanted = tag.removeprefix("W/")
    return any(found.removeprefix("W/") == wanted for found in _ENTITY_TAG.findall(if_none_match))


def http_date(seconds: float) -> str:
    """A time of the epoch as an HTTP date."""
    return formatdate(seconds, usegmt=True)


def first(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first header with this name."""
    return next((value for key, value in headers if key.lower() == name), None)


def merged_vary(current: str | None, names: Collection[str]) -> str:
    """A Vary header that has these names, too."""
    found = [item.strip() for item in (current or "").split(",") if item.strip()]
    lower = {item.lower() for item in found}
    return ", ".join([*found, *(name for name in names if name.lower() not in lower)])


def wants_fresh(request_cache_control: str, pragma: str) -> bool:
    """Whether a request asks for an answer that is not from a cache."""
    found = directives(request_cache_control)
    if not found:
        return "no-cache" in directives(pragma)
    return "no-cache" in found or "no-store" in found or found.get("max-age") == "0"


Headers = list[tuple[str, str]]


def replaced(headers: Iterable[tuple[str, str]], new: Mapping[str, str]) -> Headers:
    """The headers with these in place of those of the same names."""
    lower = {name.lower() for name in new}
    return [(n, v) for n, v in headers if n.lower() not in lower] + list(new.items())
