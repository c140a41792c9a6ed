"""The bytes that FastAPI would answer for a value."""

from __future__ import annotations

import functools
from typing import Any

from fastapi.encoders import jsonable_encoder
from pydantic import TypeAdapter
from starlette.responses import JSONResponse, Response

_EXCLUSIONS = ("exclude_unset", "exclude_defaults", "exclude_none")


def rendered(route: Any, value: Any, own: Response | None) -> Response:
    """The response of a route for a value, with its response model applied.

    ``own`` is the response that the endpoint may have changed: its status and headers count.
    """
    status = (own and own.status_code) or getattr(route, "status_code", None) or 200
    model = getattr(route, "response_model", None)
    if model is None:
        response: Response = JSONResponse(jsonable_encoder(value), status)
    else:
        adapter = _adapter(model)
        body = adapter.dump_json(
            adapter.validate_python(value, from_attributes=True),
            by_alias=route.response_model_by_alias,
            include=route.response_model_include,
            exclude=route.response_model_exclude,
            **{name: getattr(route, f"response_model_{name}") for name in _EXCLUSIONS},
        )
        response = Response(body, status, media_type="application/json")
    if own is not None:
        response.raw_headers += [item for item in own.raw_headers if item[0] != b"content-length"]
    return response


@functools.lru_cache(maxsize=1024)
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)
