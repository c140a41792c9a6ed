"""For tests of programs that use Larder: a fake in the process, and the real server."""

from larder_cache.testing.fake import FakeLarder, Policy
from larder_cache.testing.server import LarderServer

__all__ = ["FakeLarder", "LarderServer", "Policy"]
