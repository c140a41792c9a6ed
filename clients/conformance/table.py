#!/usr/bin/env python3
"""Writes the table of features in docs/clients.md from the cases that the libraries passed.

    clients/conformance/table.py            writes it
    clients/conformance/table.py --check    fails if it is not up to date

The conformance check of each library leaves target/clients/conformance/<language>.txt: a line
`<kind of client>/<topic>/<case>` for each case that passed. The column of a language without that
file stays as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
REPORTS = REPOSITORY / "target/clients/conformance"
DOCUMENT = REPOSITORY / "docs/clients.md"
BEGIN, END = "<!-- features: begin -->", "<!-- features: end -->"

LANGUAGES = {"python": "Python", "node": "Node.js", "go": "Go", "java": "Java", "rust": "Rust"}
TOPICS = {
    "fetch": "one computation per process and fleet, leases, cancelled callers",
    "stale": "stale values, refreshed in the background",
    "near": "near cache, coherent by Watch",
    "failures": "answers during an outage",
    "breaker": "circuit breaker",
    "retries": "retries of idempotent calls",
    "deadlines": "deadlines",
    "batches": "many keys in one call",
    "conditions": "conditional writes",
    "counters": "counters",
    "ttl": "TTLs",
    "values": "text, bytes and JSON values",
    "misses": "cached absence, null values",
    "names": "long and free names of namespaces, keys and params",
    "keys": "listing and counting keys",
    "call-keys": "keys of function calls",
    "invalidation": "invalidation by tags, patterns, namespaces and events",
    "watch": "feeds of changes",
    "metadata": "credentials, trace context and other metadata",
    "errors": "errors with code, reason and retry-after",
    "lifecycle": "options, presets, close",
}


def passed(language: str) -> dict[str, set[str]] | None:
    """The cases that each kind of client has passed; None if the language was not run."""
    report = REPORTS / f"{language}.txt"
    if not report.exists():
        return None
    kinds: dict[str, set[str]] = {}
    for line in report.read_text(encoding="utf-8").split():
        kind, _, case = line.partition("/")
        kinds.setdefault(kind, set()).add(case)
    return kinds


def cell(cases: Iterable[str], kinds: dict[str, set[str]]) -> str:
    """How many of the cases all kinds of clients of a language pass, apart from their fakes."""
    wanted = set(cases)
    clients = [of_kind for kind, of_kind in kinds.items() if not kind.startswith("fake")]
    good = set.intersection(wanted, *clients) if clients else set()
    return f"{len(good)}" if good == wanted else f"{len(good)} of {len(wanted)}"


def table(topics: dict[str, list[str]], old: dict[str, list[str]]) -> str:
    """The rows, with the cells of `old` for languages that were not run."""
    reports = {language: passed(language) for language in LANGUAGES}
    lines = ["| feature | " + " | ".join(LANGUAGES.values()) + " |", "|---" * (len(LANGUAGES) + 1) + "|"]
    for topic, title in TOPICS.items():
        cells = []
        for number, language in enumerate(LANGUAGES):
            report = reports[language]
            if report is None:
                kept = old.get(title, [])
                cells.append(kept[number] if number < len(kept) else "not run")
            else:
                cells.append(cell(topics[topic], report))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare")
    arguments = parser.parse_args()
    suite = json.loads((HERE / "suite.json").read_text(encoding="utf-8"))
    topics: dict[str, list[str]] = {}
    for case in suite["cases"]:
        topics.setdefault(case["id"].partition("/")[0], []).append(case["id"])
    if set(topics) != set(TOPICS):
        print(f"topics without a title: {sorted(set(topics) ^ set(TOPICS))}", file=sys.stderr)
        return 1
    text = DOCUMENT.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    old, _, tail = rest.partition(END)
    rows = [[each.strip() for each in line.split("|")[1:-1]] for line in old.splitlines()]
    new = table(topics, {row[0]: row[1:] for row in rows if row})
    if not any((REPORTS / f"{language}.txt").exists() for language in LANGUAGES):
        print("no library has run its conformance cases", file=sys.stderr)
        return 1
    if arguments.check:
        if old.strip() != new:
            print(f"{DOCUMENT.name} is not what the runs report:\n{new}", file=sys.stderr)
            return 1
        print("docs/clients.md has what the runs report")
        return 0
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{new}\n\n{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
