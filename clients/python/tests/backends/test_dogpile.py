"""The backend for dogpile.cache, beyond what its own suite checks: above all, other processes.

The server of these tests has leases of two seconds, so that they must be renewed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dogpile_plugin
import pytest
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE
from races import race

from larder_cache import Client, LarderError
from larder_cache.backends.dogpile import LarderBackend

WORKER = Path(__file__).with_name("dogpile_worker.py")
SECRET = "s" * 32

dogpile_plugin.register()


@pytest.fixture
def backend(target, namespace):
    arguments = {"target": target, "namespace": namespace, "secret": SECRET, "preset": "local"}
    return LarderBackend(arguments)


@pytest.fixture
def raw(target, namespace):
    """The same namespace without the backend."""
    with Client(target, preset="local") as client:
        yield client.namespace(namespace)


@contextmanager
def worker(target: str, namespace: str, action: str, **env: str) -> Iterator[subprocess.Popen]:
    """Runs another process; see dogpile_worker.py."""
    with subprocess.Popen(
        [sys.executable, str(WORKER), target, namespace, action],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def expect_line(process: subprocess.Popen, line: str) -> None:
    assert process.stdout.readline().strip() == line


# === Mutexes across processes ===


def test_a_mutex_excludes_other_processes(backend, target, namespace):
    with worker(target, namespace, "hold") as other:
        expect_line(other, "held")
        mutex = backend.get_mutex("key")
        assert mutex.locked()
        assert not mutex.acquire(False)
        assert backend.get_mutex("other key").acquire(False)

        acquired = []
        waiting = threading.Thread(target=lambda: acquired.append(mutex.acquire()))
        waiting.start()
        other.stdin.close()
        expect_line(other, "released")
        waiting.join(10)
        assert acquired == [True]
        mutex.release()
        assert not mutex.locked()


def test_a_released_mutex_is_passed_on_at_once(server, namespace):
    # Two backends exclude each other as two processes do: by the server.
    arguments = {"target": server.target, "namespace": namespace, "preset": "local"}
    backends = [LarderBackend(arguments) for _ in range(2)]
    holders = []

    def use(number):
        for _ in range(10):
            mutex = backends[number].get_mutex("key")
            assert mutex.acquire()
            holders.append(number)
            assert len(holders) == 1
            holders.clear()
            mutex.release()

    started = time.monotonic()
    race(use, 2)
    # With the back-off of an abandoned lease (1 s), it would take 19 s.
    assert time.monotonic() - started < 10


def test_a_mutex_is_held_for_longer_than_a_lease(backend, target, namespace):
    with worker(target, namespace, "hold") as other:
        expect_line(other, "held")
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            assert not backend.get_mutex("key").acquire(False)
            time.sleep(0.1)


def test_the_mutex_of_a_process_that_is_killed_is_passed_on(backend, target, namespace):
    with worker(target, namespace, "hold") as other:
        expect_line(other, "held")
        other.kill()
        other.wait()
        mutex = backend.get_mutex("key")
        started = time.monotonic()
        assert mutex.acquire()
        assert time.monotonic() - started < 8
        mutex.release()


def test_one_of_three_processes_creates_a_value(target, namespace, tmp_path):
    created = tmp_path / "created"
    start = [worker(target, namespace, "create", CREATED=str(created)) for _ in range(3)]
    with start[0] as first, start[1] as second, start[2] as third:
        processes = [first, second, third]
        for process in processes:
            expect_line(process, "ready")
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            expect_line(process, "value")
    assert len(created.read_text().splitlines()) == 1


def test_waiting_ends_after_lock_wait(target, namespace):
    backend = LarderBackend({"target": target, "namespace": namespace, "lock_wait": 0.5})
    with worker(target, namespace, "hold") as other:
        expect_line(other, "held")
        started = time.monotonic()
        assert not backend.get_mutex("key").acquire()
        assert time.monotonic() - started < 10


# === Mutexes in one process ===


def test_one_of_eight_threads_acquires(backend):
    assert sorted(race(lambda _: backend.get_mutex("key").acquire(False))) == [False] * 7 + [True]


def test_a_mutex_may_be_released_by_another_thread(backend):
    mutex = backend.get_mutex("key")
    assert mutex.acquire()
    thread = threading.Thread(target=mutex.release)
    thread.start()
    thread.join()
    assert mutex.acquire(False)
    mutex.release()


def test_release_without_acquire_has_no_effect(backend):
    holder, other = backend.get_mutex("key"), backend.get_mutex("key")
    assert holder.acquire()
    other.release()
    assert not other.acquire(False)
    holder.release()


def test_a_lost_lease_does_not_release_the_mutex_of_another(backend, target, namespace, raw):
    mutex = backend.get_mutex("key")
    assert mutex.acquire()
    # Voids the lease, as an operator may.
    raw.invalidate_namespace()
    with worker(target, namespace, "hold") as other:
        expect_line(other, "held")
        mutex.release()
        assert not backend.get_mutex("key").acquire(False)


def _try(backend, acquired):
    """In a forked child: whether it acquires the mutex at once."""
    mutex = backend.get_mutex("key")
    acquired.put(mutex.acquire(False))
    mutex.release()


def test_a_forked_child_does_not_hold_the_mutexes_of_its_parent(backend):
    context = multiprocessing.get_context("fork")
    acquired = context.SimpleQueue()

    def child_acquires():
        child = context.Process(target=_try, args=(backend, acquired))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        return acquired.get()

    mutex = backend.get_mutex("key")
    assert mutex.acquire()
    assert child_acquires() is False
    mutex.release()
    assert child_acquires() is True
    assert mutex.acquire(False)
    mutex.release()


def test_mutexes_leave_no_entries_and_keys_do_not_collide(backend, raw):
    backend.set_serialized("key", b"{}|1")
    mutex = backend.get_mutex("key")
    assert mutex.acquire()
    assert backend.get_serialized("key") == b"{}|1"
    mutex.release()
    assert raw.count_keys() == 1


def test_without_distributed_lock_there_is_no_mutex(target, namespace):
    arguments = {"target": target, "namespace": namespace, "distributed_lock": False}
    assert LarderBackend(arguments).get_mutex("key") is None


# === Values ===


def test_a_region_by_name(target, namespace):
    region = make_region().configure(
        "larder", arguments={"target": target, "namespace": namespace, "secret": SECRET}
    )
    assert type(region.backend) is LarderBackend
    region.set("key", {"a": (1, 2)})
    assert region.get("key") == {"a": (1, 2)}


def test_a_configuration_file(target, namespace):
    region = make_region().configure_from_config(
        {
            "cache.backend": "larder",
            "cache.expiration_time": "60",
            "cache.arguments.target": target,
            "cache.arguments.namespace": namespace,
            "cache.arguments.secret": SECRET,
            "cache.arguments.ttl": "120",
            "cache.arguments.call_timeout": "2.5",
        },
        "cache.",
    )
    assert region.get_or_create("key", lambda: 5) == 5
    with Client(target) as client:
        assert 110 < client.namespace(namespace).get("key").ttl_remaining <= 120


def test_more_keys_than_a_batch_holds(backend):
    values = {f"key{number}": b"{}|%d" % number for number in range(1001)}
    backend.set_serialized_multi(values)
    assert backend.get_serialized_multi(values) == list(values.values())
    backend.delete_multi(values)
    assert backend.get_serialized_multi(values) == [NO_VALUE] * 1001


def test_a_value_that_is_too_large_is_created_and_not_stored(backend, target, namespace):
    region = make_region().configure(
        "larder", arguments={"target": target, "namespace": namespace, "secret": SECRET}
    )
    large = "x" * 2 * 2**20
    region.set("key", "old")
    region.set("key", large)
    assert region.get("key") is NO_VALUE
    assert region.get_or_create("other", lambda: large) == large
    assert region.get_or_create_multi(["a", "b"], lambda *keys: [1, large]) == [1, large]
    assert region.get_multi(["a", "b"]) == [1, NO_VALUE]


def test_a_serializer_of_the_region_needs_no_secret(target, namespace):
    region = make_region(
        serializer=lambda value: json.dumps(value).encode(), deserializer=json.loads
    )
    region.configure("larder", arguments={"target": target, "namespace": namespace})
    region.set("key", {"a": [1, None]})
    assert region.get("key") == {"a": [1, None]}


def test_pickle_needs_a_secret(target, namespace):
    arguments = {"target": target, "namespace": namespace}
    with pytest.raises(ValueError, match="set the argument secret"):
        make_region().configure("larder", arguments=arguments)

    region = make_region(serializer=pickle.dumps, deserializer=pickle.loads)
    region.configure("larder", arguments=arguments)
    with pytest.raises(ValueError, match="set the argument secret"):
        region.set("key", "value")


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("an unsigned value was unpickled",))


@pytest.mark.parametrize("secret", [SECRET, None])
def test_an_unsigned_pickle_is_a_miss(target, namespace, raw, secret):
    region = make_region(serializer=pickle.dumps, deserializer=pickle.loads)
    region.configure(
        "larder", arguments={"target": target, "namespace": namespace, "secret": secret}
    )
    metadata = json.dumps({"ct": time.time(), "v": 2}).encode()
    raw.set("key", metadata + b"|" + pickle.dumps(Bomb()))
    assert region.get("key") is NO_VALUE
    assert region.get_multi(["key"]) == [NO_VALUE]


def test_unknown_arguments_are_named_in_a_warning(target, caplog):
    LarderBackend({"target": target, "name_space": "typo"})
    assert "name_space" in caplog.text


# === Without a server ===


def test_without_a_server_values_are_created(stopped, namespace):
    region = make_region().configure(
        "larder", arguments={"target": stopped, "namespace": namespace, "secret": SECRET}
    )
    created = []

    def create():
        created.append(1)
        return "value"

    assert region.get("key") is NO_VALUE
    assert [region.get_or_create("key", create) for _ in range(2)] == ["value"] * 2
    assert len(created) == 2
    assert region.get_multi(["a", "b"]) == [NO_VALUE] * 2
    region.set_multi({"a": 1})
    for call in (lambda: region.delete("key"), lambda: region.delete_multi(["key"])):
        with pytest.raises(LarderError):
            call()


def test_without_a_server_a_mutex_excludes_this_process(stopped, namespace):
    backend = LarderBackend({"target": stopped, "namespace": namespace})
    first, second = backend.get_mutex("key"), backend.get_mutex("key")
    assert first.acquire()
    assert second.locked()
    assert not second.acquire(False)
    first.release()
    assert second.acquire(False)
    second.release()
    assert not first.locked()


def test_on_error_raise(stopped, namespace):
    arguments = {"target": stopped, "namespace": namespace, "on_error": "raise"}
    backend = LarderBackend(arguments)
    with pytest.raises(LarderError):
        backend.get_serialized("key")
    mutex = backend.get_mutex("key")
    for _ in range(2):
        # The second time, because a failed acquire must leave nothing locked.
        with pytest.raises(LarderError):
            mutex.acquire()
