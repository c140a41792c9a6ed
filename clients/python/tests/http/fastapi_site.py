"""An application of FastAPI whose endpoints are cached, for several test modules."""

from __future__ import annotations

import datetime
from typing import Annotated, Any  # noqa: UP035

import pydantic
import pytest
from fastapi import (
    Depends,
    FastAPI,
    Header,
    Request,
)
from fastapi.testclient import TestClient

from larder_cache.http.fastapi import cached_endpoint


class Session:
    """A database session, which no key can hold."""

    open = True


class User(pydantic.BaseModel):
    id: int
    role: str = "user"


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=False)

    item_id: int = pydantic.Field(alias="itemId")
    at: datetime.datetime
    secret: str = "hidden"

    @pydantic.computed_field
    @property
    def double(self) -> int:
        return self.item_id * 2


class PublicItem(pydantic.BaseModel):
    item_id: int = pydantic.Field(alias="itemId", validation_alias="item_id")


class Search(pydantic.BaseModel):
    text: str
    limit: int = 10


def page(limit: int = 10):
    return limit


def tenant_header(x_tenant: Annotated[str, Header()] = ""):
    return x_tenant


def of_tenant(name: Annotated[str, Depends(tenant_header)]):
    return name


def get_db():
    session = Session()
    try:
        yield session
    finally:
        session.open = False


def get_current_user(authorization: Annotated[str | None, Header()] = None) -> User | None:
    return User(id=int(authorization)) if authorization else None


class Site:
    """An application whose endpoints are cached, and a browser of it."""

    def __init__(self, cache, space, browser_options=None):
        self.app = FastAPI()
        self.cache, self.space = cache, space
        self.calls: list[Any] = []
        self.browser = TestClient(self.app)

    def cached(self, **options):
        return cached_endpoint(self.space, **{"client": self.cache, "ttl": 60, **options})

    def get(self, path="/", **options):
        return self.browser.get(path, **options)


@pytest.fixture
def site(server, space):
    made = Site(server.async_client(), space)

    @made.app.middleware("http")
    async def login(request: Request, call_next):
        request.state.user_id = request.headers.get("x-user")
        return await call_next(request)

    with made.browser:
        yield made
        made.browser.portal.call(made.cache.close)


def states(*responses):
    return [response.headers["x-cache"] for response in responses]
