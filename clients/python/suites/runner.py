"""Runs the suites side by side, each with a server of its own, and checks their counts."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import servers

from larder_cache.testing import LarderServer

SUITES = Path(__file__).resolve().parent
GLUE = SUITES / "glue"
#: Seconds after which a suite hangs. The slowest takes about a minute.
TIMEOUT = 300


@dataclass(frozen=True)
class Counts:
    """What a suite reports."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def expected() -> dict[str, Counts]:
    """Reads what each suite must report."""
    table = {}
    for line in (SUITES / "expected.txt").read_text().splitlines():
        fields = line.split("#")[0].split()
        if fields:
            table[fields[0]] = Counts(int(fields[1]), 0, int(fields[2]))
    return table


def source(sources: Path, name: str) -> Path:
    """Returns the tests of the one source distribution with this name."""
    [found] = sources.glob(f"{name}-*/tests")
    return found


def pytest_command(suite: str, report: Path, *plugins: str) -> list[str]:
    """The command that runs the glue of a suite which is a set of pytest classes."""
    test = GLUE / f"{suite.replace('-', '_')}_suite.py"
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(GLUE / "pytest.ini")]
    command += [f"--rootdir={GLUE}", f"--confcutdir={GLUE}", f"--junitxml={report}"]
    for plugin in plugins:
        command += ["-p", plugin]
    return [*command, str(test)]


def pytest_counts(report: Path) -> Counts:
    """Reads the report of pytest."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    total, failed, skipped = (
        int(suite.get("tests", 0)),
        int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        int(suite.get("skipped", 0)),
    )
    return Counts(total - failed - skipped, failed, skipped)


def unittest_counts(output: str) -> Counts:
    """Reads the closing lines of unittest, such as ``Ran 57 tests`` and ``OK (skipped=3)``."""
    ran = re.search(r"^Ran (\d+) tests?", output, re.MULTILINE)
    closing = re.search(r"^(?:OK|FAILED)(?: \((.*)\))?$", output, re.MULTILINE)
    if not ran or not closing:
        return Counts(0, 0, 0)
    kinds = dict(pair.split("=") for pair in (closing[1] or "").split(", ") if pair)
    skipped = int(kinds.pop("skipped", 0))
    failed = sum(int(count) for count in kinds.values())
    return Counts(int(ran[1]) - failed - skipped, failed, skipped)


@dataclass(frozen=True)
class Result:
    """Outcome of a suite, with the log of a failure."""

    suite: str
    ok: bool
    line: str
    log: str = ""


def run(suite: str, want: Counts, options: argparse.Namespace) -> Result:
    """Runs one suite and compares its counts."""
    sources = options.cache / "sources"
    environment = dict(os.environ)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="larder-suite.")))
        store = "memory"
        if options.store == "redis":
            store = stack.enter_context(servers.redis(work))
        server = stack.enter_context(LarderServer(store=store, binary=str(options.larder)))
        report = work / "report.xml"
        # Where a suite looks for its own modules.
        paths: list[Path] = []
        if suite == "django":
            command = [sys.executable, "-m", "django", "test", "django_suite"]
            environment["DJANGO_SETTINGS_MODULE"] = "django_settings"
            paths = [source(sources, "django"), GLUE]
        elif suite in ("cachelib", "flask-caching"):
            command = pytest_command(suite, report, "conftest")
            paths = [source(sources, suite.replace("-", "_"))]
        else:
            command = pytest_command(suite, report)
            if suite == "aiocache":
                # Its tests are a package.
                paths = [source(sources, suite).parent]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        environment["LARDER_ENDPOINT"] = server.target
        try:
            done = subprocess.run(
                command, cwd=work, env=environment, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return Result(suite, False, f"FAILED {suite}/{options.store}: no end in {TIMEOUT} s")
        output = done.stdout + done.stderr
        if report.exists():
            counts = pytest_counts(report)
        else:
            counts = unittest_counts(output)
    took = time.monotonic() - started
    if counts == want and done.returncode == 0:
        return Result(suite, True, f"ok {suite}/{options.store}: {counts} ({took:.0f} s)")
    line = f"FAILED {suite}/{options.store}: {counts}; expected {want}; exit {done.returncode}"
    return Result(suite, False, line, output)


def arguments(table: dict[str, Counts]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="run.sh", description="Runs the peers' test suites.")
    parser.add_argument("suites", nargs="*", metavar="suite", help=", ".join(table))
    parser.add_argument("--setup", action="store_true", help="only install")
    parser.add_argument("--store", choices=("memory", "redis"), default="memory")
    parser.add_argument("--repository", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for suite in options.suites:
        if suite not in table:
            parser.error(f"unknown suite {suite!r}; suites: {', '.join(table)}")
    default = options.repository / "target" / "debug" / "larder"
    options.larder = Path(os.environ.get("LARDER_BIN", default)).absolute()
    if not options.setup and not options.larder.is_file():
        parser.error(f"{options.larder} not found: run `cargo build`, or set LARDER_BIN")
    if options.store == "redis" and not options.setup and not shutil.which("redis-server"):
        parser.error("redis-server not found")
    return options


def main() -> int:
    """Runs the chosen suites; returns the exit code."""
    table = expected()
    options = arguments(table)
    if options.setup:
        return 0
    # Variables of the caller could point the servers at a store that the tests must not write to.
    for name in list(os.environ):
        if name.startswith(("LARDER_", "REDIS_", "OTEL_")):
            del os.environ[name]
    chosen = list(dict.fromkeys(options.suites)) or list(table)
    passed = failed = skipped = 0
    with ThreadPoolExecutor(len(chosen)) as pool:
        for result in pool.map(lambda suite: run(suite, table[suite], options), chosen):
            print(result.line, flush=True)
            if result.log:
                print("\n".join(f"    {line}" for line in result.log.splitlines()[-200:]))
            if result.ok:
                passed += table[result.suite].passed
                skipped += table[result.suite].skipped
            else:
                failed += 1
    # A suite with other counts than expected is one failure.
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
