"""Installs the suites: ``fetch.py DIRECTORY``.

The directory gets ``venv`` (the interfaces and this client) and ``sources`` (the source
distributions, unpacked). What is up to date is left alone, so that only the first run needs the
network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path

SUITES = Path(__file__).resolve().parent
CLIENT = SUITES.parent
REQUIREMENTS = SUITES / "requirements.txt"
SDISTS = SUITES / "sdists.txt"


def once(stamp: Path, inputs: list[Path], make: Callable[[], None]) -> None:
    """Calls ``make`` unless it was done with the same inputs."""
    digest = hashlib.sha256(f"{sys.version}\n{CLIENT}\n".encode())
    for path in inputs:
        digest.update(path.read_bytes())
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return
    make()
    stamp.write_text(digest.hexdigest())


def names(path: Path) -> list[str]:
    """Returns the names of the distributions in a requirements file."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line.split("==")[0] for line in lines if line]


def pip(directory: Path, *arguments: str) -> None:
    """Runs pip of the virtual environment in the directory."""
    python = directory / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, cwd=directory)


def install_suites(directory: Path) -> None:
    """Installs the interfaces, and unpacks the source distributions."""
    shutil.rmtree(directory, ignore_errors=True)
    venv.create(directory / "venv", with_pip=True)
    pip(directory, "install", "-r", str(REQUIREMENTS))
    download = ["download", "--no-deps", "--require-hashes", "--dest", "sdists"]
    pip(directory, *download, "--no-binary", ",".join(names(SDISTS)), "-r", str(SDISTS))
    for archive in sorted((directory / "sdists").glob("*.tar.gz")):
        with tarfile.open(archive) as source:
            if hasattr(tarfile, "data_filter"):
                source.extractall(directory / "sources", filter="data")
            else:
                source.extractall(directory / "sources")


def install_client(directory: Path) -> None:
    """Installs this client: in place, so that the working tree is tested.

    It is an installation, so that the interfaces find the backends by their entry points as they do
    for users.
    """
    pip(directory, "install", "--no-deps", "--no-build-isolation", "-e", str(CLIENT))


def main() -> None:
    """Installs what is not up to date."""
    directory = Path(sys.argv[1])
    suites, client = directory / "suites-installed", directory / "client-installed"
    try:
        once(suites, [REQUIREMENTS, SDISTS], lambda: install_suites(directory))
        once(client, [CLIENT / "pyproject.toml"], lambda: install_client(directory))
    except subprocess.CalledProcessError as error:
        sys.exit(f"the suites cannot be installed: {error}")


if __name__ == "__main__":
    main()
