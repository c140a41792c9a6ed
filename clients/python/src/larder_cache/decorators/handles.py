"""The namespace handle of a decorated function, found at its first call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from larder_cache import (
    AsyncClient,
    AsyncNamespace,
    Client,
    Namespace,
    NearCache,
    default_async_client,
    default_client,
)
from larder_cache.codecs import Codec

AnyClient = Client | AsyncClient
AnyNamespace = Namespace[Any] | AsyncNamespace[Any]


class Home:
    """Where the entries of a function are: a client, a namespace, and how values are stored.

    ``client`` is a client, a function that returns one, or None for the client of the process.
    """

    def __init__(
        self,
        *,
        namespace: str | AnyNamespace,
        client: AnyClient | Callable[[], AnyClient] | None,
        is_async: bool,
        on_error: str | None,
        near_cache: NearCache | bool | None,
        function: str,
    ) -> None:
        self._namespace = namespace
        self._client = client
        self._is_async = is_async
        self._settings = {"on_error": on_error, "near_cache": near_cache}
        self._function = function
        self._found: _Found | None = None
        if not isinstance(namespace, str):
            self._check(namespace, AsyncNamespace, Namespace, "namespace")
            for option, value in (("client", client), *self._settings.items()):
                if value is not None:
                    raise TypeError(f"{option} is that of the handle that is given as namespace")
        elif not namespace:
            raise ValueError("namespace must not be empty")
        if on_error not in (None, "open", "raise"):
            raise ValueError(f'on_error must be "open" or "raise", not {on_error!r}')
        if near_cache is not None and not isinstance(near_cache, (bool, NearCache)):
            raise TypeError(f"near_cache must be True or a NearCache, not {near_cache!r}")
        if client is not None and not callable(client):
            self._check(client, AsyncClient, Client, "client")

    @property
    def name(self) -> str:
        """The name of the namespace."""
        return self._namespace if isinstance(self._namespace, str) else self._namespace.name

    def handle(self, codec: Codec) -> Any:
        """The handle: an AsyncNamespace for a coroutine function, else a Namespace."""
        if not isinstance(self._namespace, str):
            return self._namespace
        client = self._resolved()
        found = self._found
        if found is None or found.client is not client or found.codec is not codec:
            handle = client.namespace(self._namespace, codec=codec, **self._settings)
            self._found = found = _Found(client, codec, handle)
        return found.handle

    def _resolved(self) -> Any:
        if self._client is None:
            return default_async_client() if self._is_async else default_client()
        if not callable(self._client):
            return self._client
        client = self._client()
        self._check(client, AsyncClient, Client, "client")
        return client

    def _check(self, value: Any, asynchronous: type, blocking: type, option: str) -> None:
        wanted = asynchronous if self._is_async else blocking
        if not isinstance(value, wanted):
            kind = "a coroutine function" if self._is_async else "a blocking function"
            raise TypeError(
                f"{option} must be {wanted.__name__}, since {self._function} is {kind}, "
                f"not {type(value).__name__}"
            )


class _Found(NamedTuple):
    client: Any
    codec: Codec
    handle: Any
