"""The same without the library: a call that waits a second, beside a greenlet that ticks."""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import os  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402

import gevent  # noqa: E402
import grpc  # noqa: E402
from google.protobuf.duration_pb2 import Duration  # noqa: E402

from larder_cache._gen import cache_service_pb2 as pb  # noqa: E402
from larder_cache._gen.cache_service_pb2_grpc import CacheServiceStub  # noqa: E402

ticks = 0


def ticking() -> None:
    """Counts, each 10 ms."""
    global ticks
    while True:
        time.sleep(0.01)
        ticks += 1


channel = grpc.insecure_channel(os.environ["LARDER_ENDPOINT"])
stub = CacheServiceStub(channel)
key = uuid.uuid4().hex
request = pb.GetOrFetchRequest(namespace="naive", key=key, wait=Duration(seconds=1))
stub.GetOrFetch(request)
ticker = gevent.spawn(ticking)
time.sleep(0.05)
before = ticks
stub.GetOrFetch(request)
print(json.dumps({"ticks": ticks - before}), flush=True)
os._exit(0)
