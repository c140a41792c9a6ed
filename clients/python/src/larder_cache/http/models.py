"""Values of FastAPI's response models as JSON."""

from __future__ import annotations

import functools
import inspect
import json
from typing import Any

from fastapi.encoders import jsonable_encoder
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from larder_cache.codecs import Codec, Encoded, JsonCodec, Kind
from larder_cache.errors import DecodeError, EncodeError

# Before 2.11, pydantic validates by aliases only; a model whose aliases for reading and writing
# differ is then not read back.
_BY_NAME: dict[str, Any] = (
    {"by_name": True}
    if "by_name" in inspect.signature(TypeAdapter.validate_json).parameters
    else {}
)


class ModelCodec:
    """Values of a type, stored by the names of its fields.

    What is read is an object of the type again, so that the framework treats it like the value that
    the endpoint returned. ``exclude_unset`` keeps the difference of set and unset fields.
    """

    def __init__(self, model: Any, *, exclude_unset: bool = False) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(model)
        self._exclude_unset = exclude_unset

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        try:
            checked = self._adapter.validate_python(value, from_attributes=True)
            body = self._adapter.dump_json(
                checked, by_alias=not _BY_NAME, round_trip=True, exclude_unset=self._exclude_unset
            )
        except ValueError as error:
            raise EncodeError(f"$: {error}") from error
        return Encoded("json", body.decode())

    def decode(self, kind: Kind, content: Any, /) -> Any:
        """The value of what is stored."""
        if kind != "json":
            raise DecodeError(f"the value is {kind}, not json")
        try:
            return self._adapter.validate_json(content, **_BY_NAME)
        except ValueError as error:
            raise DecodeError(str(error)) from error


class JsonableCodec(JsonCodec):
    """Values as FastAPI encodes them when there is no response model."""

    def encode(self, value: Any, /) -> Encoded:
        """The stored form of a value."""
        try:
            jsonable = jsonable_encoder(value)
        except Exception as error:
            # It raises what the attributes of objects raise.
            raise EncodeError(f"$: {error!r}") from error
        return Encoded("json", json.dumps(jsonable, ensure_ascii=False, separators=(",", ":")))


JSONABLE = JsonableCodec()


def model_codec(model: Any, exclude_unset: bool) -> Codec:
    """The codec of a response model; the same object each time."""
    try:
        return _codec(model, exclude_unset)
    except TypeError:
        # Annotations can have metadata that cannot be compared; without a codec of its own, the
        # value is stored as the framework would encode it.
        return JSONABLE


@functools.lru_cache(maxsize=1024)
def _codec(model: Any, exclude_unset: bool) -> Codec:
    if model is None:
        return JSONABLE
    try:
        return ModelCodec(model, exclude_unset=exclude_unset)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return JSONABLE
