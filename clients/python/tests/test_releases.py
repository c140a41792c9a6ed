"""The client with servers of an earlier and of a later release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from larder_cache import Client, DecodeError, Miss, NearCache, NotStored, Unimplemented
from larder_cache._gen import cache_service_pb2 as pb

# Fields that no release has: number 1999 of the wire types varint and length-delimited.
UNKNOWN = b"\xf8\x7c\x07" + b"\xfa\x7c\x03new"
# A value of an enum that no release has, for fields 1 to 15.
LATER = 1234

Answers = dict[str, Callable[[bytes], bytes]]


class Release(grpc.GenericRpcHandler):
    """A server that has only some methods, and answers with any bytes."""

    def __init__(self, unary: Answers, streams: Answers) -> None:
        self.unary, self.streams = unary, streams
        self.calls: list[str] = []

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        self.calls.append(name)
        if name in self.unary:
            answer = self.unary[name]
            return grpc.unary_unary_rpc_method_handler(lambda request, _: answer(request))
        if name in self.streams:
            answer = self.streams[name]
            return grpc.unary_stream_rpc_method_handler(lambda request, _: iter([answer(request)]))
        return None


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Client, Release]]]:
    servers: list[Any] = []

    def start(unary: Answers, streams: Answers | None = None) -> tuple[Client, Release]:
        release = Release(unary, streams or {})
        server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[release])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        client = Client(f"127.0.0.1:{port}", preset="local")
        servers.extend([client, server])
        return client, release

    yield start
    for each in servers:
        each.close() if isinstance(each, Client) else each.stop(None)


def later(message: Any) -> bytes:
    return message.SerializeToString() + UNKNOWN


def test_fields_of_a_later_release_are_ignored(serve: Any) -> None:
    entry = pb.EntryInfo(version="v", tier=LATER, tags=["t"])
    hit = pb.GetResponse(outcome=pb.OUTCOME_HIT, value=pb.Value(text="x"), entry=entry)
    stored = pb.SetResponse(result=pb.SET_RESULT_STORED, version="w")
    client, _ = serve({"Get": lambda _: later(hit), "Set": lambda _: later(stored)})
    users = client.namespace("users")
    found = users.get("k")
    assert (found.value, found.version, found.tags, found.tier) == ("x", "v", ("t",), "")
    assert users.set("k", 1).version == "w"


def test_an_unknown_outcome_is_a_miss(serve: Any) -> None:
    answer = pb.GetResponse(outcome=LATER, value=pb.Value(text="x"))
    batch = pb.BatchGetResponse(results=[pb.BatchGetResult(outcome=LATER)])
    client, _ = serve({"Get": lambda _: later(answer)}, {"BatchGet": lambda _: later(batch)})
    users = client.namespace("users")
    assert isinstance(users.get("k"), Miss)
    assert isinstance(users.get_many(["k"])["k"], Miss)


def test_an_unknown_result_of_a_write_is_not_stored(serve: Any) -> None:
    client, _ = serve({"Set": lambda _: later(pb.SetResponse(result=LATER))})
    result = client.namespace("users").set("k", 1)
    assert isinstance(result, NotStored) and not result


def test_an_unknown_kind_of_value_is_an_undecodable_miss(serve: Any) -> None:
    # Field 9 of Value, such as a new kind of value would be.
    value = b"\x4a\x01x"
    answer = b"\x08\x01\x12" + bytes([len(value)]) + value
    client, _ = serve({"Get": lambda _: answer})
    found = client.namespace("users").get("k")
    assert isinstance(found, Miss) and found.error is not None
    assert client.counters("users")["undecodable"] == 1


def test_an_unknown_answer_of_get_or_fetch_runs_the_loader(serve: Any) -> None:
    client, release = serve({"GetOrFetch": lambda _: UNKNOWN})
    result = client.namespace("users").get_or_fetch("k", lambda: 7)
    assert (result.value, result.tier) == (7, "loader")
    assert not result.stored
    assert release.calls == ["GetOrFetch"]


def test_a_value_that_another_release_stores_again_runs_the_loader(serve: Any) -> None:
    answer = pb.GetOrFetchResponse()
    answer.found.outcome = pb.OUTCOME_HIT
    answer.found.value.json = b"{not json"
    client, release = serve({"GetOrFetch": lambda _: later(answer)})
    result = client.namespace("users").get_or_fetch("k", lambda: 7)
    assert (result.value, result.tier) == (7, "loader") and not result.stored
    assert isinstance(result.error, DecodeError)
    assert release.calls == ["GetOrFetch"] * 2


def test_a_method_that_the_server_does_not_have_is_an_error_of_its_own(serve: Any) -> None:
    client, release = serve({"Get": lambda _: pb.GetResponse().SerializeToString()})
    users = client.namespace("users")
    with pytest.raises(Unimplemented):
        users.invalidate(tags=["t"])
    with pytest.raises(Unimplemented):
        users.patch("k", merge={"a": 1})
    assert not users.get("k")
    assert release.calls == ["Invalidate", "Patch", "Get"], "none is repeated"


def test_without_watch_the_near_cache_is_not_used(serve: Any) -> None:
    entry = pb.EntryInfo(version="v", tier=pb.TIER_STORE)
    entry.ttl_remaining.seconds = 60
    hit = pb.GetResponse(outcome=pb.OUTCOME_HIT, value=pb.Value(text="x"), entry=entry)
    client, release = serve({"Get": lambda _: hit.SerializeToString()})
    users = client.namespace("users", near_cache=NearCache())
    for _ in range(20):
        assert users.get("k").tier == "store"
    assert release.calls.count("Get") == 20
