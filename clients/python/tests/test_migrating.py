"""The Python code of the pages about moving to Larder runs as it is shown."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

from larder_cache.testing import LarderServer

PAGES = pathlib.Path(__file__).parents[3] / "docs" / "migrating"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TARGET = "127.0.0.1:50051"


def blocks() -> list[tuple[str, str]]:
    """The new code of each page: that of the module which is replaced begins with `# before`."""
    found = []
    for page in sorted(PAGES.glob("*.md")):
        for number, code in enumerate(BLOCK.findall(page.read_text())):
            if not code.startswith("# before\n"):
                found.append((f"{page.stem}-{number}", code))
    return found


def test_each_replaced_module_has_code() -> None:
    assert len(blocks()) >= 6


@pytest.mark.parametrize(("name", "code"), blocks(), ids=[name for name, _ in blocks()])
def test_code_of_a_page(name: str, code: str) -> None:
    with LarderServer() as server:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LARDER", "REDIS"))}
        # A program of its own: blocks set up frameworks and the default client.
        run = subprocess.run(
            [sys.executable, "-c", code.replace(TARGET, server.target)],
            env={**environment, "LARDER_ENDPOINT": server.target},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
