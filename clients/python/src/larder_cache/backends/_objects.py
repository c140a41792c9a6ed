"""Python objects as values: integers as counters, everything else as signed pickles."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Callable
from typing import Any

from larder_cache.backends._signing import Signer

__all__ = ["Objects", "Undecodable", "note_undecodable"]

logger = logging.getLogger(__name__)

#: What the client stores as `text` and as `data`.
Encoded = str | bytes

_COUNTER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_MAX_COUNTER = 2**63 - 1


class Undecodable(ValueError):
    """A stored value that cannot be read: for the caller a miss."""


class Objects:
    """Encodes the objects of one namespace.

    `dumps` and `loads` replace pickle. Without a `signer` their bytes are stored as they are.
    """

    def __init__(
        self,
        signer: Signer | None,
        dumps: Callable[..., Any] | None = None,
        loads: Callable[..., Any] | None = None,
    ) -> None:
        if signer is None and (dumps is None or loads is None):
            raise ValueError("pickled values need a secret that signs them")
        self._signer = signer
        self._dumps = dumps or _pickle
        self._loads = loads or pickle.loads

    def encode(self, key: str, value: Any) -> Encoded:
        """Returns what to store for a value of a key. Raises what the serializer raises."""
        # Not isinstance: a bool must come back as a bool.
        if type(value) is int and -_MAX_COUNTER <= value <= _MAX_COUNTER:
            return str(value)
        payload = self._dumps(value)
        if isinstance(payload, str):
            payload = payload.encode()
        if not isinstance(payload, bytes):
            # Serializers of cachelib return None for what they cannot encode.
            raise ValueError(f"the serializer cannot encode the value of {key!r}")
        return self._signer.seal(key, payload) if self._signer else payload

    def decode(self, key: str, stored: Any) -> Any:
        """Returns the value of what is stored; raises `Undecodable`."""
        if isinstance(stored, str):
            return int(stored) if _COUNTER.fullmatch(stored) else stored
        if not isinstance(stored, bytes):
            # JSON, which only clients of other kinds write here.
            return stored
        try:
            payload = self._signer.open(key, stored) if self._signer else stored
            return self._loads(payload)
        except Exception as error:
            # Loading can raise anything, such as AttributeError for a class that has moved.
            raise Undecodable(f"the value of {key!r} cannot be decoded: {error!r}") from error


def _pickle(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def note_undecodable(namespace: Any, error: Exception) -> None:
    """Counts and logs a stored value that is a miss because it cannot be decoded."""
    namespace._handle.counters.undecodable += 1
    logger.warning("a stored value is ignored: %s", error)
