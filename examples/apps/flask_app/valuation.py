"""Areas, types of properties, and what a property is worth."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, jsonify, request
from larder_cache.decorators import cache_result
from larder_cache.http import cached_endpoint

from common import database, settings

from .login import login_required

blueprint = Blueprint("valuation", __name__)

SEARCH_TYPES = ("buy", "rent")


@blueprint.get("/api/areas/<search_type>")
@login_required
def get_areas(search_type: str) -> Any:
    """The areas, about 50 KB: a function below the view is cached."""
    return jsonify(load_areas(checked(search_type)))


@cache_result(
    timeout=3600, key_prefix="areas:", namespace="locations", enabled=settings.CACHE_ENABLED
)
def load_areas(search_type: str) -> dict[str, Any]:
    """The areas of a kind of search."""
    return database.query("areas", search_type=search_type)


@blueprint.get("/api/property-types/<search_type>")
@login_required
@cached_endpoint(
    namespace="locations", ttl=3600, cache_authorized=True, enabled=settings.CACHE_ENABLED
)
def get_property_types(search_type: str) -> Any:
    """The types of properties, about 20 KB: the answer is cached, with its headers."""
    return jsonify(database.query("property_types", search_type=checked(search_type)))


@blueprint.post("/api/property/valuation")
@login_required
@cached_endpoint(
    namespace="valuation",
    ttl=300,
    # The body is a part of the key: equal JSON is one entry, whatever its order and spaces.
    methods=["POST"],
    cache_authorized=True,
    enabled=settings.CACHE_ENABLED,
)
def get_property_valuation() -> Any:
    """What a property is worth, and what comparable ones were sold for."""
    wanted = request.get_json()
    try:
        area, kind = str(wanted["area"]), str(wanted["property_type"])
        metres = int(wanted["square_metres"])
    except (KeyError, TypeError, ValueError):
        abort(400, "the body must have area, property_type and square_metres")
    found = database.query("valuation", area=area, property_type=kind, square_metres=metres)
    return jsonify(found)


def checked(search_type: str) -> str:
    """The kind of search, or 404."""
    if search_type not in SEARCH_TYPES:
        abort(404, f"there is no search type {search_type}")
    return search_type
