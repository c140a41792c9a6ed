"""The types of the library, as checkers see them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = "tests/typing_users.py"


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy() -> None:
    pytest.importorskip("mypy")
    run("mypy", "--strict", "src/larder_cache", CODE)


def test_pyright() -> None:
    pytest.importorskip("pyright")
    run("pyright", CODE)
