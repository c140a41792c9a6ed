"""The test suite of langchain-tests for caches of model answers, bound to the Larder backend."""

import itertools

import pytest
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

from larder_cache.backends.langchain import LarderCache

_number = itertools.count()


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self):
        return LarderCache(namespace=f"sync-{next(_number)}", preset="local")


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self):
        return LarderCache(namespace=f"async-{next(_number)}", preset="local")
