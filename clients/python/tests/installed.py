"""Uses the installed package as a program without its sources does, on the real server.

LARDER_BIN is the server. Needs nothing but the package and its dependencies.
"""

import asyncio
import pathlib
import sys
import threading

import google.protobuf
import grpc

import larder_cache
from larder_cache import AsyncClient, Client, NearCache
from larder_cache.testing import FakeLarder, LarderServer


def use(client: Client) -> None:
    users = client.namespace("users")
    assert not users.get("ada")
    assert users.set("ada", {"name": "Ada"}, ttl="5m", tags=["team:1"])
    hit = users.get("ada")
    assert hit.found and hit.value == {"name": "Ada"} and hit.tags == ("team:1",)
    users.invalidate(tags=["team:1"])
    assert not users.get("ada")

    calls = []
    barrier = threading.Barrier(8)

    def load() -> dict[str, int]:
        calls.append(1)
        return {"visits": 1}

    def fetch() -> None:
        barrier.wait()
        assert users.get_or_fetch("visits", load).value == {"visits": 1}

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1, calls
    assert {key: result.value for key, result in users.get_many(["visits", "no"]).items()} == {
        "visits": {"visits": 1},
        "no": None,
    }


async def use_async(client: AsyncClient) -> None:
    users = client.namespace("users")
    await users.set("grace", b"\0\1")
    assert (await users.get("grace")).value == b"\0\1"

    async def load() -> str:
        await asyncio.sleep(0.01)
        return "loaded"

    results = await asyncio.gather(*(users.get_or_fetch("k", load) for _ in range(20)))
    assert {result.value for result in results} == {"loaded"}


def use_near_cache(client: Client) -> None:
    near = client.namespace("near", near_cache=NearCache())
    near.set("k", "old")
    for _ in range(200):
        if near.get("k").tier == "client":
            break
        threading.Event().wait(0.02)
    else:
        raise AssertionError("the near cache is never used")
    near.set("k", "new")
    assert near.get("k").value == "new"


def main() -> None:
    here = pathlib.Path(__file__).parent.resolve()
    assert here in pathlib.Path(larder_cache.__file__).parents, "not the installed package"
    with LarderServer() as server:
        with Client(server.target, preset="local") as client:
            use(client)
            use_near_cache(client)

        async def session() -> None:
            async with AsyncClient(server.target, preset="local") as client:
                await use_async(client)

        asyncio.run(session())
    fake = FakeLarder()
    with fake.client() as client:
        use(client)
    print(
        f"ok Python {sys.version.split()[0]}, grpcio {grpc.__version__}, "
        f"protobuf {google.protobuf.__version__}"
    )


if __name__ == "__main__":
    main()
