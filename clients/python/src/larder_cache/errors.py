"""The errors of the library. All of them are `LarderError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from larder_cache._gen import status_pb2

__all__ = [
    "Aborted",
    "ClientClosed",
    "DeadlineExceeded",
    "DecodeError",
    "EncodeError",
    "FailedPrecondition",
    "InvalidArgument",
    "LarderError",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "UncacheableArgument",
    "Unimplemented",
]

# Codes of the network and of an overloaded or unreachable store.
_OUTAGES = frozenset(
    {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "INTERNAL",
        "UNKNOWN",
        "CANCELLED",
    }
)


# The caller's mistakes, whatever their code.
_MISTAKES = frozenset({"VALUE_TOO_LARGE", "MESSAGE_TOO_LARGE"})


class LarderError(Exception):
    """An error of a call, or of the library itself.

    `code` is the name of the gRPC code, such as `UNAVAILABLE`. `reason` is the stable reason of the
    server, such as `VALUE_TOO_LARGE`, or empty. `retry_after` is in seconds, or None. `metadata` is
    that of the reason.
    """

    code: str = "UNKNOWN"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        reason: str = "",
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.reason = reason
        self.retry_after = retry_after
        self.metadata: Mapping[str, str] = metadata or {}
        self.fields: Mapping[str, str] = fields or {}

    @property
    def outage(self) -> bool:
        """Whether the network or the store failed, rather than the call being a mistake."""
        return self.code in _OUTAGES and self.reason not in _MISTAKES

    def __str__(self) -> str:
        about = self.code if not self.reason else f"{self.code} ({self.reason})"
        return f"{about}: {self.message}" if self.message else about

    def __reduce__(self) -> Any:
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(kind: type[LarderError], message: str, facts: dict[str, Any]) -> LarderError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(facts)
    return error


class InvalidArgument(LarderError, ValueError):
    """An argument that neither the library nor the server accepts."""

    code = "INVALID_ARGUMENT"


class NotFound(LarderError):
    """A namespace that the server does not have (`strict_namespaces`)."""

    code = "NOT_FOUND"


class FailedPrecondition(LarderError):
    """The entry is not of the kind that the call needs, such as a counter."""

    code = "FAILED_PRECONDITION"


class Unauthenticated(LarderError):
    """The token or the certificate is missing or wrong."""

    code = "UNAUTHENTICATED"


class PermissionDenied(LarderError):
    """The caller may not do this."""

    code = "PERMISSION_DENIED"


class ResourceExhausted(LarderError):
    """A limit is reached: a value is too large, or the server is overloaded."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(LarderError):
    """The server or its store cannot be reached, or the breaker is open (`BREAKER_OPEN`)."""

    code = "UNAVAILABLE"


class DeadlineExceeded(LarderError, TimeoutError):
    """No answer within the deadline of the call."""

    code = "DEADLINE_EXCEEDED"


class Aborted(LarderError):
    """Other writes came first again and again."""

    code = "ABORTED"


class Unimplemented(LarderError):
    """The server is of a release without this call."""

    code = "UNIMPLEMENTED"


class ClientClosed(LarderError, RuntimeError):
    """A call after `close`."""

    code = "FAILED_PRECONDITION"


class EncodeError(LarderError, ValueError):
    """A value that the codec cannot encode. The message names the place in the value."""

    code = "INVALID_ARGUMENT"


class DecodeError(LarderError, ValueError):
    """A stored value that the codec cannot decode."""

    code = "DATA_LOSS"


class UncacheableArgument(LarderError, TypeError):
    """An argument of a decorated function that cannot be a part of a key."""

    code = "INVALID_ARGUMENT"


_CLASSES: dict[str, type[LarderError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        FailedPrecondition,
        Unauthenticated,
        PermissionDenied,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        Aborted,
        Unimplemented,
    )
}


def make_error(
    code: str,
    message: str,
    *,
    reason: str = "",
    retry_after: float | None = None,
    metadata: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> LarderError:
    """The error of the class that belongs to a code."""
    return _CLASSES.get(code, LarderError)(
        message,
        code=code,
        reason=reason,
        retry_after=retry_after,
        metadata=metadata,
        fields=fields,
    )


def from_rpc(error: grpc.RpcError) -> LarderError:
    """The library's error for one of gRPC. It keeps the original as its cause."""
    code = error.code().name
    reason, metadata, retry_after = "", {}, None
    fields: dict[str, str] = {}
    trailers: Any = error.trailing_metadata() or ()
    for name, value in trailers:
        if name != "grpc-status-details-bin":
            continue
        status = status_pb2.Status()
        try:
            status.ParseFromString(value)
            for detail in status.details:
                kind = detail.type_url.rpartition("/")[2]
                if kind == "google.rpc.ErrorInfo":
                    info = status_pb2.ErrorInfo.FromString(detail.value)
                    reason, metadata = info.reason, dict(info.metadata)
                elif kind == "google.rpc.RetryInfo":
                    delay = status_pb2.RetryInfo.FromString(detail.value).retry_delay
                    retry_after = delay.seconds + delay.nanos / 1e9
                elif kind == "google.rpc.BadRequest":
                    request = status_pb2.BadRequest.FromString(detail.value)
                    fields = {v.field: v.description for v in request.field_violations}
        except ValueError:
            # A proxy can send anything; the code and the message are enough then.
            break
    message = error.details() or ""
    if not reason and code == "RESOURCE_EXHAUSTED" and "message larger than max" in message:
        # The limit of this client, which gRPC itself enforces, as it does for other servers.
        reason = "MESSAGE_TOO_LARGE"
    made = make_error(
        code,
        message,
        reason=reason,
        retry_after=retry_after,
        metadata=metadata,
        fields=fields,
    )
    made.__cause__ = error
    return made
