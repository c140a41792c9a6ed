"""mypy agrees with the types of decorated functions, and finds the mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")


def test_mypy(tmp_path):
    here = Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-version=3.10",
            "--follow-imports=silent", f"--cache-dir={tmp_path}",
            str(here / "typing_decorators.py"),
        ],
        env={"MYPYPATH": str(here.parent.parent / "src"), "PATH": ""},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
