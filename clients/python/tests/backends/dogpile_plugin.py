"""The backend of dogpile.cache under its name, also if the client is not installed.

The name comes with the installation, as an entry point. Sources that are used as they are have
none. The suite of dogpile.cache runs with an installed client, and finds the entry point.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from dogpile.cache import register_backend


def register() -> None:
    """Makes the name "larder" known."""
    if not entry_points(group="dogpile.cache", name="larder"):
        register_backend("larder", "larder_cache.backends.dogpile", "LarderBackend")
