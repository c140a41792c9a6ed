"""Every block of Python in the README runs, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from larder_cache.testing import FakeLarder, LarderServer

pytest_plugins = ["larder_cache.testing.fixtures"]

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block(block: str, server: LarderServer) -> None:
    code = block.replace("localhost:50051", server.target)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_fixtures(fake_larder: FakeLarder, larder_client: object) -> None:
    assert fake_larder.client().namespace("a").set("k", 1)
    assert larder_client.namespace("a").set("k", 1)  # type: ignore[attr-defined]
