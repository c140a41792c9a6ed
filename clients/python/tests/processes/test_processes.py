"""Processes, threads and event loops: forks, several loops, gevent, imports."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

from larder_cache import AsyncClient, Client
from larder_cache.testing import LarderServer


def run_script(body: str, server: LarderServer, **environment: str) -> str:
    """Runs a script in a process of its own, and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)],
        env={**os.environ, "LARDER_ENDPOINT": server.target, **environment},
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


FORK = """
    import asyncio, os, sys, threading
    from larder_cache import Client, AsyncClient

    client = Client(preset="local", on_error="raise")
    ns = client.namespace("fork", near_cache=True)
    ns.set("k", 1)
    ns.get("k")
    client.namespace("fork").get_or_fetch("f", lambda: 1)
    async_client = AsyncClient(preset="local", on_error="raise")

    async def use():
        other = async_client.namespace("fork")
        await other.set("a", os.getpid())
        assert (await other.get("a")).found

    asyncio.run(use())
    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                assert ns.set(f"c{number}", number)
                assert ns.get(f"c{number}").value == number
                assert ns.get_or_fetch(f"g{os.getpid()}", lambda: 5).stored
                asyncio.run(use())
                client.close()
                os._exit(0)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    assert ns.set("k", 2) and ns.get("k").value == 2
    assert [ns.get(f"c{number}").value for number in range(3)] == [0, 1, 2]
    asyncio.run(use())
    client.close()
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("support", ["default", "0", "1"])
def test_forks(server: LarderServer, support: str) -> None:
    """A client that was used before a fork works in the children and in the parent."""
    settings = {"GRPC_ENABLE_FORK_SUPPORT": support} if support != "default" else {}
    assert "done" in run_script(FORK, server, **settings)


def test_a_fork_while_a_lock_is_held(server: LarderServer) -> None:
    body = """
        import os, threading
        from larder_cache import Client

        client = Client(preset="local", on_error="raise")
        ns = client.namespace("locks")
        began, go = threading.Event(), threading.Event()

        def load():
            began.set()
            go.wait(10)
            return 1

        thread = threading.Thread(target=ns.get_or_fetch, args=("held", load))
        thread.start()
        began.wait(10)
        client._session._lock.acquire()
        pid = os.fork()
        if pid == 0:
            # The flight of the parent is not joined: it would not end here.
            value = ns.get_or_fetch("held", lambda: 2, timeout=0.1).value
            client.namespace("another", ttl=5).set("k", 1)
            os._exit(0 if value == 2 else 1)
        client._session._lock.release()
        assert os.waitpid(pid, 0)[1] == 0
        go.set()
        thread.join()
        print("done")
    """
    assert "done" in run_script(body, server)


def test_an_import_does_nothing(server: LarderServer) -> None:
    body = """
        import sys, threading
        before = threading.active_count()
        import larder_cache
        from larder_cache import Client, AsyncClient, default_client
        client = Client()
        client.namespace("a", near_cache=True)
        AsyncClient().namespace("a")
        assert threading.active_count() == before
        assert client._io._channel is None
        for module in ("opentelemetry", "pydantic", "msgspec", "gevent", "larder_cache.testing"):
            assert module not in sys.modules or module == "opentelemetry", module
        print("done")
    """
    assert "done" in run_script(body, server)


def test_gevent(server: LarderServer) -> None:
    pytest.importorskip("gevent")
    body = """
        from gevent import monkey
        monkey.patch_all()
        import gevent, time
        from larder_cache import Client

        client = Client(preset="local", on_error="raise")
        ns = client.namespace("gevent")
        ns.invalidate_namespace()
        calls = []

        def load():
            calls.append(1)
            time.sleep(0.3)
            return "value"

        start = time.monotonic()
        jobs = [gevent.spawn(ns.get_or_fetch, "k", load) for _ in range(20)]
        jobs += [gevent.spawn(ns.get, str(number)) for number in range(50)]
        gevent.joinall(jobs, timeout=20, raise_error=True)
        assert len(calls) == 1 and jobs[0].value.value == "value"
        assert time.monotonic() - start < 2
        client.close()
        print("done")
    """
    assert "done" in run_script(body, server)


def test_the_end_of_a_process_without_close(server: LarderServer) -> None:
    body = """
        import asyncio
        from larder_cache import AsyncClient, Client

        near = Client().namespace("end", near_cache=True)
        near.set("k", 1)
        near.get("k")
        near.get_or_fetch("f", lambda: 1)

        async def main():
            await AsyncClient().namespace("end", near_cache=True).get("k")

        asyncio.run(main())
        print("done")
    """
    assert "done" in run_script(body, server)


def test_several_loops(server: LarderServer) -> None:
    import asyncio

    client = AsyncClient(server.target, preset="local", on_error="raise")
    ns = client.namespace("loops")

    async def work(name: str) -> None:
        await ns.set(name, name)
        results = await asyncio.gather(*(ns.get(name) for _ in range(50)))
        assert {each.value for each in results} == {name}

    asyncio.run(work("one"))
    asyncio.run(work("two"))
    errors: list[BaseException] = []

    def in_thread(name: str) -> None:
        try:
            asyncio.run(work(name))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=in_thread, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    asyncio.run(work("three"))
    # Closed loops are forgotten.
    assert len(client._io._states) <= 4
    asyncio.run(client.close())


def test_uvloop(server: LarderServer) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def work() -> None:
        async with AsyncClient(server.target, preset="local") as client:
            ns = client.namespace("uvloop")
            assert await ns.set("k", 1) and (await ns.get("k")).value == 1
            assert (await ns.get_or_fetch("f", lambda: 2)).value == 2

    loop: Any = uvloop.new_event_loop()
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


def test_threads(server: LarderServer) -> None:
    client = Client(server.target, preset="local", on_error="raise")
    ns = client.namespace("threads")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(50):
                ns.set(f"{number}", turn)
                assert ns.get(f"{number}").value == turn
                ns.get_or_fetch(f"shared{turn}", lambda: turn)  # noqa: B023
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert client.counters("threads")["hits"] >= 400
    client.close()
