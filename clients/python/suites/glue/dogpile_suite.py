"""The test suite of dogpile.cache, bound to the Larder backend.

It is bound four times, as dogpile.cache binds it to its own network backends: with the default
serializer, with one of the region, without and with the mutex of the backend.
"""

from dogpile.testing.fixtures import (
    _GenericBackendTestSuite,
    _GenericMutexTestSuite,
    _GenericSerializerTestSuite,
)


class _Larder:
    backend = "larder"


class TestBackend(_Larder, _GenericBackendTestSuite):
    config_args = {
        "arguments": {"namespace": "plain", "secret": "s" * 32, "distributed_lock": False}
    }


class TestSerializer(_Larder, _GenericSerializerTestSuite, _GenericBackendTestSuite):
    config_args = {
        "arguments": {"namespace": "serializer", "secret": "s" * 32, "distributed_lock": False}
    }


class TestDistributedLock(_Larder, _GenericBackendTestSuite):
    config_args = {"arguments": {"namespace": "locked", "secret": "s" * 32}}


class TestMutex(_Larder, _GenericMutexTestSuite):
    config_args = {"arguments": {"namespace": "mutex", "secret": "s" * 32}}
