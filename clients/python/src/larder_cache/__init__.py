"""Client of Larder, a cache service.

from larder_cache import Client

users = Client().namespace("users")
user = users.get_or_fetch("42", lambda: load_user(42), ttl="5m").value
"""

from larder_cache._version import __version__
from larder_cache.aio import AsyncClient
from larder_cache.aio_namespace import AsyncNamespace
from larder_cache.client import Client
from larder_cache.codecs import (
    BytesCodec,
    Codec,
    CompressedCodec,
    Encoded,
    JsonCodec,
    PickleCodec,
    TextCodec,
    register_codec,
)
from larder_cache.defaults import configure, default_async_client, default_client
from larder_cache.durations import FOREVER, Duration
from larder_cache.errors import (
    Aborted,
    ClientClosed,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    FailedPrecondition,
    InvalidArgument,
    LarderError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    UncacheableArgument,
    Unimplemented,
)
from larder_cache.names import Key
from larder_cache.namespace import Namespace
from larder_cache.near import NearCache
from larder_cache.results import (
    Deleted,
    Hit,
    Incremented,
    Invalidated,
    ListedKey,
    Loaded,
    Miss,
    Negative,
    NotStored,
    Patched,
    Result,
    Stale,
    Stored,
    Touched,
)
from larder_cache.typed import TypedCodec

__all__ = [
    "FOREVER",
    "Aborted",
    "AsyncClient",
    "AsyncNamespace",
    "BytesCodec",
    "Client",
    "ClientClosed",
    "Codec",
    "CompressedCodec",
    "DeadlineExceeded",
    "DecodeError",
    "Deleted",
    "Duration",
    "EncodeError",
    "Encoded",
    "FailedPrecondition",
    "Hit",
    "Incremented",
    "InvalidArgument",
    "Invalidated",
    "JsonCodec",
    "Key",
    "LarderError",
    "ListedKey",
    "Loaded",
    "Miss",
    "Namespace",
    "NearCache",
    "Negative",
    "NotFound",
    "NotStored",
    "Patched",
    "PermissionDenied",
    "PickleCodec",
    "ResourceExhausted",
    "Result",
    "Stale",
    "Stored",
    "TextCodec",
    "Touched",
    "TypedCodec",
    "Unauthenticated",
    "Unavailable",
    "UncacheableArgument",
    "Unimplemented",
    "__version__",
    "configure",
    "default_async_client",
    "default_client",
    "register_codec",
]
