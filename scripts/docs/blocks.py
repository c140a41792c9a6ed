#!/usr/bin/env python3
"""Runs the blocks of code in the documents, against a real server.

    scripts/docs/blocks.py             all pages
    scripts/docs/blocks.py PAGE...     these only

Each page has a folder and a server of its own. Blocks of `console` and `sh` are run, and the output
of a command is compared with the lines below it. Programs are run, and every block of `toml` is
checked by `larder check-config`. A remark above a block changes that:

    <!-- docs: skip: REASON -->       the block is not run
    <!-- docs: from: FILE -->         it is a part of FILE, which a test runs
    <!-- docs: file: NAME -->         it is written to a file
    <!-- docs: config -->             the server is started again with it as larder.toml
    <!-- docs: background -->         it runs until the end of the page
    <!-- docs: stop -->               what runs in the background is stopped before
    <!-- docs: run: python|node|go|java -->  its commands need this language and its library
    <!-- docs: with: NAME=VALUE ... -->  variables without which the configuration is incomplete
    <!-- docs: exit: CODE -->         the last command ends with CODE
    <!-- docs: until: SECONDS -->     it is repeated until the output is as shown
    <!-- docs: page: redis -->        the page has a Redis

LARDER_BIN is the server (target/debug/larder by default).
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import pages
from console import commands, is_as_shown
from languages import Missing, link, prepare
from server import Fault, Surroundings

# Pages of which every block is run or has a remark. Of the others, the configuration is checked.
RUN = (
    "README.md",
    "docs/access.md",
    "docs/concepts/",
    "docs/demo.md",
    "docs/events.md",
    "docs/how-to/",
    "docs/invalidation.md",
    "docs/near-cache.md",
    "docs/quick-start/",
)
# Blocks that are not code.
SHOWN = "", "text", "mermaid", "properties", "xml"
PROGRAMS = {"python": ("block.py", "python"), "js": ("block.mjs", "node")}

FILES = re.compile(r"/(?:etc/larder|run/secrets)/([\w.-]+)")
VARIABLES = re.compile(r"\$\{env:(\w+)\}")


class Page:
    """The blocks of a page, which run one after the other."""

    def __init__(self, name: str, surroundings: Surroundings) -> None:
        self.name = name
        text = pages.read(name)
        self.blocks = pages.blocks(name, text)
        self.needs_redis = "<!-- docs: page: redis -->" in text
        self.is_run = name.startswith(RUN)
        self.surroundings = surroundings
        self.counts = {"passed": 0, "skipped": 0}

    def needs_server(self) -> bool:
        languages = {block.language for block in self.blocks if "skip" not in block.remarks}
        return self.is_run and bool(languages - {*SHOWN, "toml"})

    def run(self) -> list[str]:
        """The faults of the page."""
        faults = []
        try:
            if self.needs_server():
                if self.needs_redis:
                    self.surroundings.start_redis()
                self.surroundings.start_server()
            for block in self.blocks:
                try:
                    self.counts[self.block(block)] += 1
                except Missing as missing:
                    # In CI nothing may be skipped unnoticed.
                    if os.environ.get("CI") == "true":
                        faults.append(f"{block.place}: {missing}")
                    else:
                        print(f"SKIPPED {block.place}: {missing}")
                        self.counts["skipped"] += 1
                except Fault as fault:
                    faults.append(f"{block.place}: {fault}")
        except Fault as fault:
            faults.append(f"{self.name}: {fault}")
        finally:
            self.surroundings.close()
        return faults

    def block(self, block: pages.Block) -> str:
        remarks = block.remarks
        if "skip" in remarks:
            if not remarks["skip"]:
                raise Fault("the remark `skip` has no reason")
            return "skipped"
        if "from" in remarks:
            is_part_of(block.text, remarks["from"])
        elif block.language == "toml":
            self.configuration(block)
        elif block.language in SHOWN or not self.is_run:
            return "skipped"
        elif "background" in remarks:
            self.surroundings.start_background(block.text)
        elif "file" in remarks:
            self.write(remarks["file"], block.text)
        else:
            self.code(block)
        return "passed"

    def code(self, block: pages.Block) -> None:
        remarks = block.remarks
        if "stop" in remarks:
            self.surroundings.stop_background()
        if "run" in remarks:
            prepare(remarks["run"], self.surroundings)
        if block.language == "console":
            self.console(block)
        elif block.language == "sh":
            self.command(block.text, "0")
        elif block.language in PROGRAMS:
            file, language = PROGRAMS[block.language]
            prepare(language, self.surroundings)
            self.write(file, block.text)
            program = {"python": ".venv/bin/python", "node": "node"}[language]
            self.command(f"{program} {file}", "0")
        else:
            raise Fault(f"a block of `{block.language}` cannot run: give the reason by `skip`")

    def write(self, name: str, text: str) -> None:
        (self.surroundings.folder / name).write_text(self.surroundings.localized(text))

    def console(self, block: pages.Block) -> None:
        listed = commands(block.text)
        seconds = float(block.remarks.get("until", 0))
        for number, (command, lines) in enumerate(listed):
            is_last = number == len(listed) - 1
            # A miss ends with 1, and is shown as what it is.
            codes = block.remarks.get("exit", "0 1") if is_last else "0 1"
            shown = [self.surroundings.localized(line) for line in lines]
            output = self.command(command, codes)
            deadline = time.monotonic() + seconds
            while shown and not is_as_shown(output, shown):
                if time.monotonic() > deadline:
                    expected = "\n".join(shown)
                    raise Fault(f"$ {command}\n--- shown\n{expected}\n--- printed\n{output}")
                time.sleep(0.1)
                output = self.command(command, codes)

    def command(self, script: str, codes: str) -> str:
        script = self.surroundings.localized(script)
        environment = self.surroundings.environment()
        # The libraries read it. The server would take it for a key.
        if not script.startswith("larder --"):
            environment["LARDER_ENDPOINT"] = environment["LARDER_ADDRESS"]
        command = ["bash", "-euo", "pipefail", "-c", script]
        code, output = self.surroundings.run(command, environment)
        if str(code) not in codes.split():
            raise Fault(f"exit code {code}, not {codes}:\n$ {script}\n{output}")
        return output

    def localized_files(self, text: str) -> str:
        folder = self.surroundings.folder
        return FILES.sub(lambda match: str(secret(folder, match[1])), text)

    def configuration(self, block: pages.Block) -> None:
        folder = self.surroundings.folder
        text = self.localized_files(self.surroundings.localized(block.text))
        is_config = "config" in block.remarks
        name = "larder.toml" if is_config else block.remarks.get("file", "block.toml")
        file = folder / name
        file.write_text(text)
        environment = dict(self.surroundings.environment())
        environment.pop("LARDER_LISTEN")
        for assignment in shlex.split(block.remarks.get("with", "")):
            name, _, value = assignment.partition("=")
            environment[name] = self.localized_files(value)
        for name in VARIABLES.findall(text):
            environment[name] = "a-token-of-more-than-32-characters"
        command = [self.surroundings.larder, "check-config", "--config", file.name]
        code, output = self.surroundings.run(command, environment)
        if code != 0:
            raise Fault(output.strip())
        if is_config:
            self.surroundings.start_server()


def secret(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A file to which a configuration refers."""
    certificates = folder / ".certs"
    if not certificates.exists():
        command = ["larder", "certs", "--out", certificates]
        subprocess.run(command, check=True, capture_output=True, env=os.environ)
    kinds = {".crt": "server.crt", ".key": "server.key", ".pem": "ca.crt"}
    kind = kinds.get(pathlib.PurePath(name).suffix)
    if kind is not None:
        return certificates / kind
    (certificates / name).write_text("a-secret-of-more-than-32-characters\n")
    return certificates / name


def is_part_of(text: str, file: str) -> None:
    """Whether a tested file has the block, at any depth."""

    def plain(code: str) -> str:
        return "\n".join(line.strip() for line in code.strip().splitlines())

    if plain(text) not in plain(pages.read(file)):
        raise Fault(f"{file} does not have this block")


def tool_folder(folder: pathlib.Path, larder: str, needs_grpcurl: bool) -> pathlib.Path:
    """A folder with the programs that the pages call."""
    folder.mkdir()
    link(folder / "larder", pathlib.Path(larder))
    if needs_grpcurl:
        command = [pages.ROOT / "scripts/tools.sh", "grpcurl"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        link(folder / "grpcurl", pathlib.Path(done.stdout.strip()))
    return folder


def main() -> None:
    start = time.monotonic()
    larder = str(pathlib.Path(os.environ.get("LARDER_BIN", pages.ROOT / "target/debug/larder")))
    if not pathlib.Path(larder).exists():
        sys.exit(f"{larder} not found: run `cargo build`, or name another binary with LARDER_BIN")
    names = sys.argv[1:] or [
        name for name in pages.summary() if (pages.ROOT / name).exists() and in_scope(name)
    ]
    work = pathlib.Path(tempfile.mkdtemp(prefix="larder-docs."))
    counts = {"passed": 0, "skipped": 0}
    faults: list[str] = []
    try:
        needs_grpcurl = any("grpcurl" in pages.read(name) for name in names if name.startswith(RUN))
        tools = tool_folder(work / "bin", larder, needs_grpcurl)
        os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"

        def run(number: int) -> tuple[str, Page, list[str]]:
            folder = work / str(number)
            folder.mkdir()
            page = Page(names[number], Surroundings(folder, tools, larder))
            return names[number], page, page.run()

        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            for name, page, found in threads.map(run, range(len(names))):
                if page.counts["passed"] or found:
                    print(f"{'FAILED' if found else 'ok    '} {name}: {page.counts['passed']}")
                for count, value in page.counts.items():
                    counts[count] += value
                faults += found
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for fault in faults:
        print(f"\n{fault}", file=sys.stderr)
    passed, failed = counts["passed"], len(faults)
    print(f"blocks of the documents: {time.monotonic() - start:.0f} s")
    print(f"docs: {passed} passed, {failed} failed, {counts['skipped']} skipped")
    sys.exit(failed > 0)


def in_scope(name: str) -> bool:
    """Whether the page is Larder's own: those of the libraries are run by their tests."""
    return name.startswith(("README.md", "docs/", "examples/README.md", "SECURITY.md"))


if __name__ == "__main__":
    main()
