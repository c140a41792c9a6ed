"""Calls replicas of Larder in turns until the file $LARDER_STOP exists, and prints how many calls
failed. A replica may stop and start again meanwhile: a client follows its GOAWAY. With
$LARDER_TLS_CA the replicas have TLS, and their certificates may change: each worker connects again
and again."""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.duration_pb2 import Duration

from larder.v1.cache_service_pb2 import DeleteRequest, GetOrFetchRequest, GetRequest, SetRequest, Value
from larder.v1.cache_service_pb2_grpc import CacheServiceStub

WORKERS = 4
TLS_ROUNDS = 5  # per connection
NAMESPACE = "load-python"
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [{"name": [{}], "timeout": "15s"}],
}


def call_all(larder, key, count):
    entry = {"namespace": NAMESPACE, "key": key}
    count(larder.Get, GetRequest(**entry))
    answer = count(larder.GetOrFetch, GetOrFetchRequest(**entry, wait=Duration(seconds=1)))
    # Under the lease, if one was granted.
    token = answer.lease.token if answer else b""
    count(larder.Set, SetRequest(**entry, value=Value(text=key), lease_token=token))
    count(larder.Delete, DeleteRequest(**entry))


def work(worker):
    calls, failed = 0, 0

    def count(method, request):
        nonlocal calls, failed
        calls += 1
        try:
            return method(request)
        except grpc.RpcError as error:
            failed += 1
            print(error, flush=True)

    channel, has_tls = connect()
    number = 0
    while not os.path.exists(os.environ["LARDER_STOP"]):
        if has_tls and number % TLS_ROUNDS == TLS_ROUNDS - 1:
            channel.close()
            channel, _ = connect()
        call_all(CacheServiceStub(channel), f"{worker}-{number % 50}", count)
        number += 1
    channel.close()
    return calls, failed


def connect():
    """A channel, and whether it has TLS."""
    target = "ipv4:" + os.environ["LARDER_ADDRESSES"]
    options = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        # A list of addresses is not a valid authority, which the library would make of it.
        ("grpc.default_authority", "larder"),
        # Otherwise the channels of a process share connections.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    authority = os.environ.get("LARDER_TLS_CA")
    if not authority:
        return grpc.insecure_channel(target, options), False
    with open(authority, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(target, credentials, options), True


def main():
    with ThreadPoolExecutor(WORKERS) as pool:
        counts = list(pool.map(work, range(WORKERS)))
    calls, failed = (sum(column) for column in zip(*counts))
    print(f"calls={calls} failed={failed}")
    sys.exit(failed > 0)


main()
