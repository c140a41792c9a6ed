"""Cached endpoints of FastAPI."""

from .starlette import cached_endpoint

__all__ = ["cached_endpoint"]
