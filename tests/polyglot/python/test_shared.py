"""Entries of ../shared.json that each language writes and all others read.

Keys begin with the name of the writer.
"""

import base64
import json
import os
from pathlib import Path

import pytest

from larder.v1 import cache_service_pb2 as pb

ENTRIES = json.loads((Path(__file__).parent.parent / "shared.json").read_text("utf-8"))
WRITERS = os.environ.get("LARDER_WRITERS", "").split()


def value(entry):
    if "data" in entry:
        return pb.Value(data=base64.b64decode(entry["data"]))
    return pb.Value(text=entry["text"]) if "text" in entry else pb.Value(json=entry["json"])


def test_write(larder):
    for entry in ENTRIES:
        # In reverse order: keys must not depend on the order of params.
        params = dict(reversed(entry["params"].items()))
        request = pb.SetRequest(
            namespace="shared", key=f"python/{entry['key']}", params=params, value=value(entry)
        )
        assert larder.Set(request).result == pb.SET_RESULT_STORED


@pytest.mark.parametrize("writer", WRITERS)
def test_read(larder, writer):
    for entry in ENTRIES:
        key = f"{writer}/{entry['key']}"
        got = larder.Get(pb.GetRequest(namespace="shared", key=key, params=entry["params"]))
        assert (got.outcome, got.value) == (pb.OUTCOME_HIT, value(entry)), (
            f"{key!r} {entry['params']}"
        )
