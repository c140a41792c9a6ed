"""The test suite of cachelib, bound to the Larder backend."""

import itertools

import pytest
from clear import ClearTests
from common import CommonTests
from delete_many_with_prefix import DeleteManyWithPrefixTests
from has import HasTests
from serializer import SerializerTests

from larder_cache.backends.cachelib import LarderCache

_number = itertools.count()


@pytest.fixture(autouse=True)
def cache_factory(request):
    """Each cache begins empty: it has a namespace of its own."""

    def factory(self, *args, **kwargs):
        kwargs["namespace"] = f"test-{next(_number)}"
        # Long deadlines: the suite is not about speed.
        return LarderCache(*args, secret="s" * 32, preset="local", **kwargs)

    request.cls.cache_factory = factory


class TestLarderCache(
    CommonTests, ClearTests, HasTests, DeleteManyWithPrefixTests, SerializerTests
):
    pass
