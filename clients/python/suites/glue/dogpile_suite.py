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


def _arguments(namespace, **more):
    # Long deadlines: the suite is not about speed.
    return {"arguments": {"namespace": namespace, "secret": "s" * 32, "preset": "local", **more}}


class TestBackend(_Larder, _GenericBackendTestSuite):
    config_args = _arguments("plain", distributed_lock=False)


class TestSerializer(_Larder, _GenericSerializerTestSuite, _GenericBackendTestSuite):
    config_args = _arguments("serializer", distributed_lock=False)


class TestDistributedLock(_Larder, _GenericBackendTestSuite):
    config_args = _arguments("locked")


class TestMutex(_Larder, _GenericMutexTestSuite):
    config_args = _arguments("mutex")
