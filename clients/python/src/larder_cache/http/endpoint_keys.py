"""The keys of requests to a cached endpoint."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from larder_cache.decorators._drive import settle
from larder_cache.decorators.calls import CallKey
from larder_cache.decorators.canonical import NotCanonical, canonical
from larder_cache.decorators.errors import uncacheable_argument
from larder_cache.decorators.options import Moment, ask
from larder_cache.decorators.users import USER_PARAM, user_at, user_id

from .described import DescribedVisit
from .endpoint_options import EndpointOptions
from .visit import Visit


class EndpointKeys:
    """Makes the keys of the requests to one endpoint."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options

    async def key(self, visit: Visit, moment: Moment) -> CallKey | None:
        """The key of a request, or None if none stands for all that its answer depends on."""
        options = self._options
        params: dict[str, str] = {}
        if options.by_user:
            user = await self._user(visit, moment)
            if user is None and not self._shares_anonymous(visit):
                return None
            params[USER_PARAM] = "anonymous" if user is None else self._text("user", user)
        if options.key_builder is not None:
            built = await _ask_builder(options.key_builder, moment, options.home.name)
            if not isinstance(built, str) or not built:
                raise TypeError(f"key_builder of {options.name} must return a text, not {built!r}")
            key = built
            self._add_query(params, visit, options.query_params or ())
        else:
            key = self._add_arguments(params, visit)
            if visit.own_query(options.query_params):
                self._add_query(params, visit, options.query_params)
        if options.headers is None:
            implied = visit.implied()
            if implied is None:
                return None
            params.update(implied)
        else:
            params.update((f"header:{name}", visit.header(name) or "") for name in options.headers)
        if visit.method not in ("GET", "HEAD"):
            params["@method"] = visit.method
            body = None if options.key_builder is not None else await visit.body()
            if body is not None:
                params["@body"] = body_digest(*body)
        return CallKey(key, params)

    def _shares_anonymous(self, visit: Visit) -> bool:
        """Whether a request without a user may have the entry of all those without one.

        One with credentials may be that of a user that is not found: its answer is private.
        """
        options = self._options
        if not options.cache_anonymous:
            return False
        return options.cache_authorized or not visit.header("authorization")

    def _add_arguments(self, params: dict[str, str], visit: Visit) -> str:
        options = self._options
        shown: frozenset[str] = frozenset()
        unclear: frozenset[str] = frozenset()
        key = options.name
        if options.template is not None:
            key, unclear = options.template.render(visit.arguments, self.refuse)
            shown = options.template.names - unclear
        for name, value in visit.key_arguments(options.query_params).items():
            if name not in shown and name not in options.ignore:
                params[name] = self._text(name, value)
        if options.template is not None:
            # Also arguments that are left out otherwise: two requests must not share an entry.
            for name in sorted(unclear - params.keys()):
                fields = options.template.fields_of(name, visit.arguments)
                params.update((field, self._text(name, value)) for field, value in fields.items())
        return key

    def _add_query(
        self, params: dict[str, str], visit: Visit, listed: tuple[str, ...] | None
    ) -> None:
        values: dict[str, list[str]] = {}
        for name, value in visit.query():
            if (listed is None or name in listed) and name not in self._options.ignore:
                values.setdefault(name, []).append(value)
        for name, found in values.items():
            params[f"query:{name}"] = self._text(name, found)

    async def _user(self, visit: Visit, moment: Moment) -> Any:
        by_user = self._options.by_user
        if isinstance(visit, DescribedVisit):
            return visit.known_user
        if by_user is True:
            return user_id(await settle(visit.user()))
        if isinstance(by_user, str):
            root, _, path = by_user.partition(".")
            found = visit.root(root)
            if found is None:
                return None
            return user_at(path, found) if path else user_id(found)
        assert not isinstance(by_user, bool)
        return await ask(by_user, moment)

    def _text(self, name: str, value: Any) -> str:
        try:
            return canonical(value)
        except NotCanonical as error:
            raise self.refuse(name, error) from None

    def refuse(self, name: str, error: NotCanonical) -> Exception:
        """The error for an argument that cannot be part of a key."""
        return uncacheable_argument(self._options.name, name, error)


async def _ask_builder(builder: Any, moment: Moment, namespace: str) -> Any:
    """The key that a builder makes of a request and a namespace."""
    return await settle(builder.call(moment.subject, namespace, more=moment.more))


def body_digest(body: bytes, media_type: str) -> str:
    """The SHA-256 of a body in hex. Equal JSON has one digest, whatever its order and spaces."""
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            body = canonical(json.loads(body)).encode()
        except (ValueError, RecursionError):
            # The endpoint reports the mistake; here it is a body as any other.
            pass
    return hashlib.sha256(body).hexdigest()
