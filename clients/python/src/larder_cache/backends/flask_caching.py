"""A backend for Flask-Caching.

For example:

    app.config.update(
        CACHE_TYPE="larder_cache.backends.flask_caching.LarderCache",
        CACHE_LARDER_TARGET="larder:50051",
        CACHE_LARDER_NAMESPACE="shop",
    )
    cache = Cache(app)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachelib.serializers import BaseSerializer
from flask import Flask
from flask_caching.backends.base import BaseCache

from larder_cache.backends import cachelib

__all__ = ["LarderCache"]


class LarderCache(cachelib.LarderCache, BaseCache):
    """The cachelib backend, with a configuration of Flask.

    - `CACHE_LARDER_TARGET`: the server, `LARDER_ENDPOINT` by default;
    - `CACHE_LARDER_NAMESPACE` ("flask");
    - `CACHE_LARDER_SECRET`: signs pickled values; `SECRET_KEY` by default, with
      `SECRET_KEY_FALLBACKS`. It must be set before the extension is initialized, unless
      `CACHE_SERIALIZER` replaces pickle;
    - `CACHE_LARDER_CLIENT`: a dictionary of options of `larder_cache.Client`;
    - `CACHE_KEY_PREFIX`, `CACHE_DEFAULT_TIMEOUT`, `CACHE_OPTIONS` as for other backends.
    """

    @classmethod
    def factory(
        cls, app: Flask, config: dict[str, Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> LarderCache:
        """Makes the cache that the configuration describes."""
        options: dict[str, Any] = {
            "target": config.get("CACHE_LARDER_TARGET"),
            "namespace": config.get("CACHE_LARDER_NAMESPACE", "flask"),
            "key_prefix": config.get("CACHE_KEY_PREFIX"),
            "secret": config.get("CACHE_LARDER_SECRET") or _secrets(app),
            **config.get("CACHE_LARDER_CLIENT", {}),
            **kwargs,
        }
        if options["secret"] is None and config.get("CACHE_SERIALIZER"):
            options["serializer"] = _SetLater()
        if args:
            options.pop("target")
        try:
            return cls(*args, **options)
        except ValueError as error:
            if options["secret"] is None and "serializer" not in options:
                raise ValueError(
                    "pickled values are signed: set SECRET_KEY, CACHE_LARDER_SECRET or "
                    "CACHE_SERIALIZER before the cache is initialized"
                ) from error
            raise


def _secrets(app: Flask) -> list[Any] | None:
    if not app.secret_key:
        return None
    return [app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or [])]


class _SetLater(BaseSerializer):
    """Stands for the serializer of the extension, which sets it right afterwards."""

    def dumps(self, value: Any, protocol: int = 0) -> bytes:
        raise NotImplementedError("this release of Flask-Caching ignores CACHE_SERIALIZER")

    def loads(self, bvalue: Any) -> Any:
        raise NotImplementedError("this release of Flask-Caching ignores CACHE_SERIALIZER")
