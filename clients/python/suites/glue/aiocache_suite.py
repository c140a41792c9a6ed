"""The acceptance tests of aiocache for all caches, bound to the Larder backend."""

import itertools

import pytest
from tests.acceptance.test_base import TestCache as _TestCache

from larder_cache.backends.aiocache import LarderCache

_number = itertools.count()


class TestLarderCache(_TestCache):
    @pytest.fixture
    async def cache(self):
        return LarderCache(
            larder_namespace=f"test-{next(_number)}",
            namespace="test",
            # Long deadlines: the suite is not about speed.
            client_options={"preset": "local"},
        )
