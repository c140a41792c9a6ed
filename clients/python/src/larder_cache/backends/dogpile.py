"""A backend for dogpile.cache, with mutexes across processes.

For example:

    region = make_region().configure(
        "larder",
        expiration_time=300,
        arguments={"target": "larder:50051", "namespace": "shop", "secret": SECRET},
    )
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dogpile.cache.api import NO_VALUE, BytesBackend

from larder_cache import FOREVER
from larder_cache.backends._clients import shared_client
from larder_cache.backends._mutexes import LeaseMutexes
from larder_cache.backends._objects import note_undecodable
from larder_cache.backends._signing import BadSignature, Signer, is_pickled
from larder_cache.backends._storing import store, store_many

__all__ = ["LarderBackend"]

logger = logging.getLogger(__name__)

_OWN = ("target", "namespace", "secret", "ttl", "distributed_lock", "lock_wait")
_CLIENT = (
    "preset",
    "on_error",
    "token",
    "ca_file",
    "cert_file",
    "key_file",
    "allow_plaintext_token",
    "namespace_prefix",
    "schema_version",
    "call_timeout",
    "connect_timeout",
)


class LarderBackend(BytesBackend):
    """A namespace of Larder as a backend of dogpile.cache, named "larder".

    Its arguments:

    - `target`: the server, `LARDER_ENDPOINT` by default;
    - `namespace` ("dogpile");
    - `secret`: signs the values (at least 16 bytes, or a list of them of which the first signs).
      The default serializer of dogpile.cache, pickle, needs it; regions with a `serializer` and a
      `deserializer` of another kind do not;
    - `ttl`: seconds for which the server keeps a value, above `expiration_time`. By default, it is
      the longest that the server permits (7 days);
    - `distributed_lock` (True): one process at a time creates a value. Otherwise one thread of
      each process;
    - `lock_wait` (60): seconds for which a caller without any value waits for another that creates
      it. Then it creates the value, too;
    - options of `larder_cache.Client`: `preset`, `on_error`, `token`, `ca_file`, `cert_file`,
      `key_file`, `allow_plaintext_token`, `namespace_prefix`, `schema_version`, `call_timeout`,
      `connect_timeout`.

    Other arguments are ignored, as in all backends of dogpile.cache; a warning names them.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        unknown = sorted(set(arguments) - {*_OWN, *_CLIENT})
        if unknown:
            logger.warning("unknown arguments are ignored: %s", ", ".join(unknown))
        name = arguments.get("namespace", "dogpile")
        secret = arguments.get("secret")
        self._signer = None if secret is None else Signer(secret, name)
        ttl = arguments.get("ttl")
        self._ttl: Any = FOREVER if ttl is None else ttl
        options = {each: arguments[each] for each in _CLIENT if each in arguments}
        client = shared_client(arguments.get("target"), options)
        self._namespace = client.namespace(name)
        self._mutexes: LeaseMutexes | None = None
        if arguments.get("distributed_lock", True):
            self._mutexes = LeaseMutexes(client, name, float(arguments.get("lock_wait", 60)))

    @property
    def serializer(self) -> Callable[[Any], bytes]:  # type: ignore[override]
        """Pickle, for regions that name no serializer."""
        self._check_secret()
        return pickle.dumps

    @property
    def deserializer(self) -> Callable[[bytes], Any]:  # type: ignore[override]
        """The counterpart of `serializer`."""
        self._check_secret()
        return pickle.loads

    def _check_secret(self) -> None:
        if self._signer is None:
            raise ValueError(
                "pickled values are signed: set the argument secret, or the serializer and the "
                "deserializer of the region"
            )

    def get_mutex(self, key: str) -> Any:
        """Returns a mutex that excludes all processes, or None without `distributed_lock`."""
        return None if self._mutexes is None else self._mutexes.mutex(key)

    def get_serialized(self, key: str) -> Any:
        """Returns the bytes of a value, or NO_VALUE."""
        return self._opened(key, self._namespace.get(key))

    def get_serialized_multi(self, keys: Iterable[str]) -> Sequence[Any]:
        """Returns the bytes of each value, or NO_VALUE."""
        wanted = list(keys)
        results = self._namespace.get_many(wanted)
        return [self._opened(key, results[key]) for key in wanted]

    def set_serialized(self, key: str, value: bytes) -> None:
        """Stores the bytes of a value."""
        store(self._namespace, key, self._sealed(key, value), self._ttl)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        """Stores the bytes of values."""
        items = {key: self._sealed(key, value) for key, value in mapping.items()}
        store_many(self._namespace, items, self._ttl)

    def delete(self, key: str) -> None:
        """Removes a value. Raises if the server is away."""
        self._namespace.delete(key)

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Removes values. Raises if the server is away."""
        self._namespace.delete_many(list(keys))

    def _sealed(self, key: str, value: bytes) -> bytes:
        if self._signer is not None:
            return self._signer.seal(key, value)
        if is_pickled(_payload(value)):
            self._check_secret()
        return value

    def _opened(self, key: str, result: Any) -> Any:
        if not result.found:
            return NO_VALUE
        try:
            return self._open(key, result.value)
        except BadSignature as error:
            note_undecodable(self._namespace, error)
            return NO_VALUE

    def _open(self, key: str, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise BadSignature(f"the value of {key!r} is not one of dogpile.cache")
        if self._signer is not None:
            return self._signer.open(key, value)
        if is_pickled(_payload(value)):
            raise BadSignature(f"the value of {key!r} is a pickle without a signature")
        return value


def _payload(value: bytes) -> bytes:
    """The part after the metadata that a region puts before each value."""
    return value.partition(b"|")[2]
