"""The client libraries, made usable in the folder of a page."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pages
from server import Fault, Surroundings


class Missing(Fault):
    """What a block needs is not installed."""


def prepare(language: str, surroundings: Surroundings) -> None:
    """Makes the library of a language usable in the folder of the page."""
    folder = surroundings.folder
    if language == "python":
        venv = pathlib.Path(
            os.environ.get("LARDER_VENV", pages.ROOT / "target/clients/python-venv")
        )
        require(venv / "bin/python", "clients/python/test.sh --setup")
        link(folder / ".venv", venv)
    elif language == "node":
        library = pages.ROOT / "clients/node"
        require(library / "dist", "clients/node/test.sh --setup")
        (folder / "node_modules").mkdir(exist_ok=True)
        link(folder / "node_modules/larder-cache", library)
    elif language == "go":
        if shutil.which("go") is None:
            raise Missing("go is not installed")
        if not (folder / "go.mod").exists():
            library = pages.ROOT / "clients/go"
            for command in (
                ["go", "mod", "init", "first"],
                ["go", "mod", "edit", "-replace", f"larder.test/clients/go={library}"],
            ):
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
    elif language == "java":
        java(folder / "target/dependency")
    else:
        raise Fault(f"`run: {language}` is not a language of this script")


def java(folder: pathlib.Path) -> None:
    """Copies the library and what it needs into a folder."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed")
    repository = pathlib.Path(
        os.environ.get("LARDER_MAVEN", pages.ROOT / "target/clients/java/repository")
    )
    require(repository / "dev/larder/larder-client", "clients/java/test.sh --setup")
    # The repository has all that this project needs.
    project = pages.ROOT / "clients/java/consumer/pom.xml"
    command = ["mvn", "--offline", "--quiet", f"-Dmaven.repo.local={repository}"]
    command += ["--file", str(project), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={folder}"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Fault(f"mvn: {done.stdout}{done.stderr}")


def require(path: pathlib.Path, command: str) -> None:
    if not path.exists():
        raise Missing(f"{path} is missing: run {command}")


def link(path: pathlib.Path, target: pathlib.Path) -> None:
    if not path.exists():
        path.symlink_to(target)
