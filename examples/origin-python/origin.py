r"""gRPC origin in Python: Larder fetches missing values from the table that this server holds.

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    .venv/bin/python -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. \
        larder/origin/v1/origin_service.proto
    .venv/bin/python origin.py

and in the configuration of Larder:

    [namespaces.user.origin]
    grpc = "http://127.0.0.1:50052"
"""

import json
import os
import sqlite3
from concurrent import futures
from datetime import timedelta

import grpc

from larder.origin.v1 import origin_service_pb2 as pb
from larder.origin.v1 import origin_service_pb2_grpc as rpc

DATABASE = os.environ.get("DATABASE", "users.db")
ADDRESS = os.environ.get("ADDRESS", "127.0.0.1:50052")


def open_database():
    database = sqlite3.connect(DATABASE)
    database.execute(
        "CREATE TABLE IF NOT EXISTS users "
        "(id TEXT PRIMARY KEY, name TEXT, team TEXT, version INTEGER)"
    )
    database.execute("INSERT OR IGNORE INTO users VALUES ('ada', 'Ada Lovelace', 'engines', 1)")
    database.commit()
    return database


class Users(rpc.OriginServiceServicer):
    def Fetch(self, request, context):
        # An exception becomes the status UNKNOWN, which Larder treats as a failure of the origin.
        database = open_database()
        try:
            select = "SELECT name, team, version FROM users WHERE id = ?"
            row = database.execute(select, (request.key,)).fetchone()
        finally:
            database.close()
        if row is None:
            # Not an error: Larder caches that the key does not exist.
            return pb.FetchResponse(not_found=pb.NotFound(), ttl=timedelta(seconds=10))
        name, team, version = row
        # The TTL limits how long Larder keeps the value, tags group entries, and the ETag allows
        # revalidation.
        terms = {"ttl": timedelta(minutes=5), "tags": [f"team:{team}"], "etag": str(version)}
        if request.previous_etag == str(version):
            return pb.FetchResponse(not_modified=pb.NotModified(), **terms)
        return pb.FetchResponse(
            value=pb.Value(json=json.dumps({"name": name, "team": team})), **terms
        )

    # BatchFetch is optional: without it, Larder fetches one key at a time.


if __name__ == "__main__":
    open_database().close()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    rpc.add_OriginServiceServicer_to_server(Users(), server)
    server.add_insecure_port(ADDRESS)
    server.start()
    print(f"origin on {ADDRESS}", flush=True)
    server.wait_for_termination()
