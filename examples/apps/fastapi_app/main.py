"""The FastAPI service: `uvicorn fastapi_app.main:app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from larder_cache import default_async_client

from . import accounts, analyses, companies, pickups, points, reports


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Closes the client of the cache at the end. It connects at its first call."""
    yield
    await default_async_client().close()


app = FastAPI(title="Larder example", lifespan=lifespan)
for module in (accounts, analyses, companies, pickups, points, reports):
    app.include_router(module.router)
