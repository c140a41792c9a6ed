"""The settings of a service, from its environment."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Off: each request runs its query, as before there was a cache.
CACHE_ENABLED = os.environ.get("CACHE_ENABLED", "true").lower() == "true"

#: The SQLite file.
DATABASE = os.environ.get("APP_DATABASE", str(ROOT / "app.db"))

#: Factor of all delays of queries: 0.1 makes them ten times faster.
DELAY_SCALE = float(os.environ.get("DELAY_SCALE", "1"))

#: A file that gets a line for each query of a read, or none.
QUERY_LOG = os.environ.get("QUERY_LOG", "")

#: The secret that signs pickled values.
PICKLE_SECRET = os.environ.get("PICKLE_SECRET", "change-me-in-production")
