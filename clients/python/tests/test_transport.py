"""The wire: targets, metadata, credentials."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from setups import Loop, Setup, until

from larder_cache import AsyncClient, Client, Unauthenticated
from larder_cache._gen import cache_service_pb2 as pb
from larder_cache._gen import cache_service_pb2_grpc
from larder_cache._version import __version__
from larder_cache.testing import LarderServer
from larder_cache.testing.server import find_binary


class Recorder(cache_service_pb2_grpc.CacheServiceServicer):
    """A server that answers Get and keeps the metadata. It refuses all tokens but one."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str]] = []
        self.accepts = ""
        self.refuses_together: threading.Barrier | None = None

    def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        metadata = dict(context.invocation_metadata())
        self.metadata.append(metadata)
        if self.accepts and metadata.get("authorization") != f"Bearer {self.accepts}":
            if self.refuses_together is not None:
                self.refuses_together.wait(10)
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return pb.GetResponse(outcome=pb.OUTCOME_MISS)


@pytest.fixture
def recorder(tmp_path: Path) -> Any:
    made = Recorder()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    cache_service_pb2_grpc.add_CacheServiceServicer_to_server(made, server)
    made.target = f"unix:{tmp_path}/socket"  # type: ignore[attr-defined]
    server.add_insecure_port(made.target)  # type: ignore[attr-defined]
    server.start()
    yield made
    server.stop(0).wait()


def test_metadata(recorder: Any, on_fake: Setup) -> None:
    client = on_fake.client(
        target=recorder.target, token="secret", schema_version="v1", user_agent="app/2"
    )
    assert client.namespace("a").get("k").error is None
    (metadata,) = recorder.metadata
    assert metadata["authorization"] == "Bearer secret"
    assert metadata["larder-schema-version"] == "v1"
    assert metadata["user-agent"].startswith(f"app/2 larder-python/{__version__} ")


def test_tokens_of_a_callable(recorder: Any, on_fake: Setup) -> None:
    made = iter(f"token{number}" for number in range(100))
    client = on_fake.client(target=recorder.target, token=lambda: (next(made), 0.5))
    ns = client.namespace("a")
    ns.get("k")
    ns.get("k")
    sent = [each["authorization"] for each in recorder.metadata]
    assert sent == ["Bearer token0"] * 2
    until(lambda: not ns.get("k") and recorder.metadata[-1]["authorization"] != "Bearer token0")
    # A token that is refused before its time is replaced once.
    recorder.accepts = "token5"
    client = on_fake.client(target=recorder.target, token=lambda: (next(made), 60))
    made = iter(["token4", "token5", "token6"])
    assert client.namespace("a").get("k").error is None
    recorder.accepts = "another"
    with pytest.raises(Unauthenticated):
        client.namespace("a").get("k")


def test_calls_under_way_when_a_token_is_replaced(recorder: Any, on_fake: Setup) -> None:
    """All of them are made again with the new token, though one of them was refused first."""
    recorder.accepts = "old"
    client = on_fake.client(
        target=recorder.target, token=lambda: (recorder.accepts, 60), on_error="raise"
    )
    ns = client.namespace("a")
    assert ns.get("k").error is None
    recorder.refuses_together = threading.Barrier(3)
    recorder.accepts = "new"
    with futures.ThreadPoolExecutor(3) as pool:
        reads = [pool.submit(ns.get, "k") for _ in range(3)]
        assert [each.result(20).error for each in reads] == [None] * 3


def test_an_async_callable_for_the_token(recorder: Any, loop: Loop) -> None:
    async def token() -> str:
        return "later"

    async def work() -> None:
        async with AsyncClient(recorder.target, token=token) as client:
            await client.namespace("a").get("k")

    loop.run(work())
    assert recorder.metadata[-1]["authorization"] == "Bearer later"


def test_a_token_is_not_sent_over_plain_text() -> None:
    for target in ("cache:50051", "10.0.0.1:1", "127.0.0.1:1,10.0.0.1:1", "dns:///cache:1"):
        with pytest.raises(ValueError, match="plain text"):
            Client(target, token="t")
        Client(target, token="t", allow_plaintext_token=True)
        Client(target, token="t", tls=True)
    for target in ("localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/x"):
        Client(target, token="t")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARDER_ENDPOINT", "localhost:7")
    monkeypatch.setenv("LARDER_TOKEN", "t")
    options = Client().options
    assert options.target == "localhost:7" and options.token == "t"
    assert Client("localhost:8").options.target == "localhost:8"


def test_default_clients(server: LarderServer) -> None:
    from larder_cache import configure, default_async_client, default_client

    configure(server.target, namespace_prefix="default-")
    assert default_client() is default_client()
    assert default_client().namespace("a").set("k", 1)
    assert default_async_client().options.namespace_prefix == "default-"
    default_client().close()
    assert not default_client().closed
    with pytest.raises(ValueError, match="target"):
        configure("nowhere")
    default_client().close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    command = [find_binary(), "certs", "--out", str(folder), "--client", "app"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_tls(
    certificates: Path, on_server: Setup, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("ca.crt", "client-app.crt", "client-app.key")
    ca, cert, key = (certificates / name for name in names)
    config = f"""
[tls]
cert = "{certificates}/server.crt"
key = "{certificates}/server.key"
client_ca = "{ca}"
client_cert = "required"
"""
    with LarderServer(config) as server:
        port = server.target.rpartition(":")[2]
        target = f"localhost:{port}"
        files = {"ca_file": str(ca), "cert_file": str(cert), "key_file": str(key)}
        ns = on_server.client(target=target, preset="local", **files).namespace("a")
        assert ns.set("k", 1) and ns.get("k").value == 1
        without = on_server.client(target=target, ca_file=str(ca)).namespace("a")
        assert without.get("k").degraded

        # A certificate that is replaced is used without a restart.
        copy = tmp_path / "app.pem"
        copy.write_bytes(cert.read_bytes())
        files["cert_file"] = str(copy)
        client = on_server.client(target=target, preset="local", **files)
        ns = client.namespace("a")
        assert ns.get("k").value == 1
        before = _channels(client)
        copy.write_bytes(cert.read_bytes())
        os.utime(copy, (1, 1))
        until(lambda: ns.get("k").value == 1 and _channels(client) != before, 5)
        # One that cannot be read yet is not: the old one is used until then.
        before = _channels(client)
        copy.unlink()
        copy.mkdir()
        until(lambda: ns.get("k").value == 1 and caplog.text.count("is not replaced") > 1, 5)
        assert _channels(client) == before
        copy.rmdir()
        copy.write_bytes(cert.read_bytes())
        until(lambda: ns.get("k").value == 1 and _channels(client) != before, 5)
        with pytest.raises(ValueError, match="ca_file"):
            on_server.client(target=target, ca_file="/none").namespace("a").get("k")


def _channels(client: Any) -> Any:
    inner = getattr(client, "_inner", client)
    return inner._io._channel if hasattr(inner._io, "_channel") else _loop_channel(inner)


def _loop_channel(client: Any) -> Any:
    return [state.channel for state in client._io._states.values()]


def test_an_idle_connection_is_replaced(on_server: Setup) -> None:
    client = on_server.client(preset="lambda", max_idle=0.2)
    ns = client.namespace("a")
    ns.set("k", 1)
    before = _channels(client)
    assert ns.get("k").value == 1 and _channels(client) == before
    time.sleep(0.3)
    assert ns.get("k").value == 1 and _channels(client) != before


def test_no_threads_are_left(server: LarderServer) -> None:
    client = Client(server.target)
    client.namespace("near", near_cache=True).get("k")
    client.namespace("a").get_or_fetch("threads", lambda: time.sleep(0.01))
    client.close()

    def own() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name.startswith("larder-n")]

    assert not own()
