"""The test suite for backends of Flask-Caching, bound to the Larder backend.

The backend is made as an application makes it: by the dotted path in ``CACHE_TYPE``.
"""

import itertools

import flask
import flask_caching
import pytest
from test_backend_cache import GenericCacheTests

_number = itertools.count()


class TestLarderCache(GenericCacheTests):
    _can_use_fast_sleep = False

    @pytest.fixture
    def make_cache(self):
        app = flask.Flask(__name__)
        app.config.update(
            SECRET_KEY="s" * 32,
            CACHE_TYPE="larder_cache.backends.flask_caching.LarderCache",
            CACHE_LARDER_NAMESPACE=f"test-{next(_number)}",
            # Long deadlines: the suite is not about speed.
            CACHE_LARDER_CLIENT={"preset": "local"},
        )
        cache = flask_caching.Cache(app)
        return lambda: app.extensions["cache"][cache]
