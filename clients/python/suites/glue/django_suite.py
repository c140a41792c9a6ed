"""The test suite of Django for cache backends, bound to the Larder backend.

As for Django's own backend for Redis, the caches of the culling tests are left out: the server
evicts by itself. Those three tests skip themselves.
"""

from cache.tests import BaseCacheTests, caches_setting_for_tests
from django.test import TestCase, override_settings


@override_settings(
    CACHES=caches_setting_for_tests(
        BACKEND="larder_cache.backends.django.LarderCache",
        # Long deadlines: the suite is not about speed.
        OPTIONS={"preset": "local"},
        exclude={"cull", "zero_cull"},
    )
)
class LarderCacheTests(BaseCacheTests, TestCase):
    pass
