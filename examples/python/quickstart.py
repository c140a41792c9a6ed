"""A first session with Larder: set, get, compute a missing value once, delete."""

import os
from datetime import timedelta

import grpc

from larder.v1 import cache_service_pb2 as pb
from larder.v1.cache_service_pb2_grpc import CacheServiceStub


def fetch_profile(user):
    """Stands in for a slow operation: a query, or a call to another service."""
    return f'{{"name": "{user}"}}'


with grpc.insecure_channel(os.environ.get("LARDER_ADDRESS", "127.0.0.1:50051")) as channel:
    larder = CacheServiceStub(channel)

    greeting = {"namespace": "quickstart", "key": "greeting"}
    stored = larder.Set(
        pb.SetRequest(**greeting, value=pb.Value(text="hello"), ttl=timedelta(minutes=5))
    )
    print("set:", pb.SetResult.Name(stored.result), "for", stored.ttl.ToTimedelta())
    got = larder.Get(pb.GetRequest(**greeting))
    print("get:", pb.Outcome.Name(got.outcome), got.value.text)

    # On a miss, one caller is granted the lease; the others wait for its value.
    profile = {"namespace": "quickstart", "key": "profile", "params": {"user": "ada"}}
    answer = larder.GetOrFetch(pb.GetOrFetchRequest(**profile))
    if answer.WhichOneof("outcome") == "lease":
        value = pb.Value(json=fetch_profile("ada"))
        larder.Set(pb.SetRequest(**profile, value=value, lease_token=answer.lease.token))
    answer = larder.GetOrFetch(pb.GetOrFetchRequest(**profile))
    print("get_or_fetch:", answer.found.value.json)

    for entry in (greeting, profile):
        print("delete: existed =", larder.Delete(pb.DeleteRequest(**entry)).existed)
