"""Users and companies: entries that the FastAPI and Express services share."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, g, jsonify, request
from larder_cache.decorators import cached

from common import cache, database, settings

from .login import login_required

blueprint = Blueprint("directory", __name__)


@blueprint.get("/api/v1/auth/users/<int:user_id>")
@login_required
def get_user(user_id: int) -> Any:
    """The account of a user."""
    found = cache.read(
        "user",
        cache.ACCOUNT.format(user_id),
        lambda: database.query("user", user_id=user_id),
    )
    if found.document is None:
        abort(404, f"there is no user {user_id}")
    response = jsonify(found.document)
    response.headers["X-Cache"] = found.x_cache
    return response


@blueprint.put("/users/<int:user_id>/profile")
@login_required
def update_profile(user_id: int) -> Any:
    """Changes a user, and invalidates all entries of the user by a pattern."""
    if g.user.id != user_id and g.user.role != "admin":
        abort(403, "only your own profile")
    changed = database.change("update_user", user_id=user_id, city=text_of_body("city"))
    if not changed:
        abort(404, f"there is no user {user_id}")
    cache.namespace("user").invalidate(globs=[f"{user_id}:*"])
    return jsonify(changed[0])


@cached(namespace="company", key="{company_id}:profile", ttl="2h", enabled=settings.CACHE_ENABLED)
def load_company(company_id: int) -> dict[str, Any] | None:
    """A company, or None."""
    return database.query("company", company_id=company_id)


@cached(namespace="company", key="list", ttl="2h", enabled=settings.CACHE_ENABLED)
def load_companies() -> dict[str, Any]:
    """All companies."""
    return database.query("companies")


@blueprint.get("/companies")
@login_required
def list_companies() -> Any:
    """All companies."""
    return jsonify(load_companies())


@blueprint.get("/companies/<int:company_id>")
@login_required
def get_company(company_id: int) -> Any:
    """A company."""
    company = load_company(company_id)
    if company is None:
        abort(404, f"there is no company {company_id}")
    return jsonify(company)


@blueprint.put("/companies/<int:company_id>")
@login_required
def update_company(company_id: int) -> Any:
    """Changes a company, and invalidates the entry of one call of the cached function."""
    changed = database.change("update_company", company_id=company_id, phone=text_of_body("phone"))
    if not changed:
        abort(404, f"there is no company {company_id}")
    load_company.invalidate(company_id)
    return jsonify(changed[0])


def text_of_body(name: str) -> str:
    """A member of the JSON of the request, which must be text."""
    body = request.get_json()
    if not isinstance(body, dict) or not isinstance(body.get(name), str):
        abort(400, f"{name} must be text")
    return body[name]
