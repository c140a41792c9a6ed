"""For tests of programs that use Larder: the real server on a free port, and a fake."""

from larder_cache.testing.server import LarderServer

__all__ = ["LarderServer"]
