"""A backend for fastapi-cache2.

For example:

    FastAPICache.init(LarderBackend("larder:50051", namespace="shop"), prefix="api")
"""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi_cache.types import Backend

from larder_cache import FOREVER
from larder_cache.backends._clients import shared_async_client
from larder_cache.backends._globs import prefix_glob
from larder_cache.backends._objects import note_undecodable
from larder_cache.backends._signing import BadSignature, Secret, Signer, is_pickled
from larder_cache.backends._storing import astore

__all__ = ["LarderBackend"]


class LarderBackend(Backend):
    """A namespace of Larder as a backend of fastapi-cache2, on the asynchronous client.

    With a `secret` (at least 16 bytes, or a list of them of which the first signs) all values are
    signed. `PickleCoder` needs it: without one, pickled values are refused.

    `expire=None` is the longest TTL that the server permits (7 days by default). `target` and
    `client_options` are those of `larder_cache.AsyncClient`, such as `on_error="raise"`.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        namespace: str = "fastapi",
        secret: Secret | None = None,
        **client_options: Any,
    ) -> None:
        self._signer = None if secret is None else Signer(secret, namespace)
        self._namespace = shared_async_client(target, client_options).namespace(namespace)

    async def get_with_ttl(self, key: str) -> tuple[int, bytes | None]:
        """Returns the remaining TTL in seconds and the value, or 0 and None."""
        result = await self._namespace.get(key)
        value = self._opened(key, result)
        return (0, None) if value is None else (math.ceil(result.ttl_remaining), value)

    async def get(self, key: str) -> bytes | None:
        """Returns the value, or None."""
        return self._opened(key, await self._namespace.get(key))

    async def set(self, key: str, value: bytes | str, expire: int | None = None) -> None:
        """Stores a value for `expire` seconds; 0 and less delete it."""
        payload = value.encode() if isinstance(value, str) else value
        if self._signer is not None:
            payload = self._signer.seal(key, payload)
        elif is_pickled(payload):
            raise ValueError("pickled values are signed: set secret, or use JsonCoder")
        await astore(self._namespace, key, payload, FOREVER if expire is None else expire)

    async def clear(self, namespace: str | None = None, key: str | None = None) -> int:
        """Removes the entries whose keys begin with `namespace` and ":", or one entry.

        Returns 1, or 0 if there was nothing to remove under `key`: the server does not count what
        an invalidation removes. Raises if the server is away.
        """
        if namespace:
            await self._namespace.invalidate(globs=[prefix_glob(f"{namespace}:")])
            return 1
        if key:
            return int(bool(await self._namespace.delete(key)))
        return 0

    def _opened(self, key: str, result: Any) -> bytes | None:
        if not result.found:
            return None
        try:
            return self._open(key, result.value)
        except BadSignature as error:
            note_undecodable(self._namespace, error)
            return None

    def _open(self, key: str, value: Any) -> bytes:
        if isinstance(value, bytes):
            if self._signer is not None:
                return self._signer.open(key, value)
            if is_pickled(value):
                raise BadSignature(f"the value of {key!r} is a pickle without a signature")
            return value
        # Text and JSON of other clients. They can be no pickle, so they need no signature.
        return value.encode() if isinstance(value, str) else json.dumps(value).encode()
