"""Errors of the fake, as gRPC raises them."""

from __future__ import annotations

from typing import Any

import grpc

from larder_cache._gen import status_pb2


class FakeRpcError(grpc.RpcError):
    """An error with a code and the details that the server sends."""

    def __init__(
        self,
        code: str,
        message: str,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        field: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self._code = grpc.StatusCode[code]
        self._message = message
        status = status_pb2.Status(code=self._code.value[0], message=message)
        if reason:
            info = status_pb2.ErrorInfo(reason=reason, domain="larder", metadata=metadata)
            _attach(status, "ErrorInfo", info)
        if field:
            request = status_pb2.BadRequest()
            request.field_violations.add(field=field, description=message)
            _attach(status, "BadRequest", request)
        if retry_after is not None:
            retry = status_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(int(retry_after * 1000))
            _attach(status, "RetryInfo", retry)
        self._trailers = (("grpc-status-details-bin", status.SerializeToString()),)

    def code(self) -> grpc.StatusCode:
        """The code."""
        return self._code

    def details(self) -> str:
        """The message."""
        return self._message

    def trailing_metadata(self) -> Any:
        """The details of the server."""
        return self._trailers


def _attach(status: status_pb2.Status, name: str, detail: Any) -> None:
    status.details.add(
        type_url=f"type.googleapis.com/google.rpc.{name}", value=detail.SerializeToString()
    )


def invalid(field: str, problem: str, limit: int | None = None) -> FakeRpcError:
    """INVALID_ARGUMENT for a field."""
    metadata = {"field": field}
    if limit is not None:
        metadata["limit"] = str(limit)
    return FakeRpcError(
        "INVALID_ARGUMENT", f"{field} {problem}", "INVALID_ARGUMENT", metadata, field
    )
