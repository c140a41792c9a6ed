"""Installs the suites: ``fetch.py DIRECTORY``.

The directory gets ``venv`` (the interfaces and this client) and ``sources`` (the source
distributions, unpacked). A directory that is up to date is left alone, so that only the first run
needs the network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

SUITES = Path(__file__).resolve().parent
CLIENT = SUITES.parent
#: Files that the installation depends on.
INPUTS = [SUITES / "requirements.txt", SUITES / "sdists.txt", CLIENT / "pyproject.toml"]


def fingerprint() -> str:
    """Changes with everything that the installation depends on."""
    digest = hashlib.sha256(f"{sys.version}\n{CLIENT}\n".encode())
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def names(path: Path) -> list[str]:
    """Returns the names of the distributions in a requirements file."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line.split("==")[0] for line in lines if line]


def install(directory: Path) -> None:
    """Installs everything anew."""
    shutil.rmtree(directory, ignore_errors=True)
    venv.create(directory / "venv", with_pip=True)
    python = directory / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-r", str(SUITES / "requirements.txt")], check=True)
    # Editable, so that the suites run the working tree, and installed, so that they find the
    # backends by their entry points as users do.
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-build-isolation", "-e", str(CLIENT)], check=True
    )
    sdists = SUITES / "sdists.txt"
    download = [*pip, "download", "--no-deps", "--require-hashes", "--dest", "sdists"]
    download += ["--no-binary", ",".join(names(sdists)), "-r", str(sdists)]
    subprocess.run(download, check=True, cwd=directory)
    for archive in sorted((directory / "sdists").glob("*.tar.gz")):
        with tarfile.open(archive) as source:
            if hasattr(tarfile, "data_filter"):
                source.extractall(directory / "sources", filter="data")
            else:
                source.extractall(directory / "sources")


def main() -> None:
    """Installs, unless the directory is up to date."""
    directory = Path(sys.argv[1])
    stamp = directory / "fingerprint"
    if stamp.is_file() and stamp.read_text() == fingerprint():
        return
    try:
        install(directory)
    except subprocess.CalledProcessError as error:
        sys.exit(f"the suites cannot be installed: {error}")
    stamp.write_text(fingerprint())


if __name__ == "__main__":
    main()
