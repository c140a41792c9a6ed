"""The Markdown documents of the repository: their links, headings and blocks of code."""

from __future__ import annotations

import dataclasses
import pathlib
import posixpath
import re
import subprocess
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUMMARY = "docs/SUMMARY.md"

FENCE = re.compile(r"^(\s*)(```+)\s*([\w,-]*)\s*$")
# The text of a link can begin on an earlier line.
LINK = re.compile(r"(\])\(([^()\s]+)\)")
CODE = re.compile(r"(`+)[^`]*\1")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
ENTRY = re.compile(r"^(\s*)(?:- )?\[([^\]]+)\]\(([^)]*)\)$")
# A remark that applies to the block of code below it: `<!-- docs: skip: needs a cluster -->`.
REMARK = re.compile(r"^<!-- docs: ([a-z]+)(?:: (.*?))? -->$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code, and the remarks above it."""

    page: str
    line: int
    language: str
    text: str
    remarks: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def tracked(*patterns: str) -> list[str]:
    """Files of the repository, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(names.splitlines()) if (ROOT / name).is_file())


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def resolve(page: str, target: str) -> str:
    """The path of a link's file, relative to the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def relative(page: str, path: str) -> str:
    """The link from a page to a file."""
    return posixpath.relpath(path, posixpath.dirname(page) or ".")


def is_outside(target: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*:", target) is not None


def blocks(page: str, text: str) -> list[Block]:
    """The blocks of code of a page, in order."""
    found: list[Block] = []
    remarks: dict[str, str] = {}
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening is None:
            line = lines[number].strip()
            if remark := REMARK.match(line):
                remarks[remark[1]] = remark[2] or ""
            elif line:
                remarks = {}
            number += 1
            continue
        indent, fence, language = opening.groups()
        end = number + 1
        while end < len(lines) and lines[end].strip() != fence:
            end += 1
        body = [line.removeprefix(indent) for line in lines[number + 1 : end]]
        code = "".join(f"{line}\n" for line in body)
        found.append(Block(page, number + 1, language, code, remarks))
        remarks = {}
        number = end + 1
    return found


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Applies a change to each line that is not in a block of code."""
    lines, fence = [], None
    for line in text.splitlines(keepends=True):
        opening = FENCE.match(line.rstrip("\n"))
        if fence is None and opening is not None:
            fence = opening[2]
        elif fence is not None and line.strip() == fence:
            fence = None
        elif fence is None:
            line = change(line)
        lines.append(line)
    return "".join(lines)


def change_links(text: str, change: Callable[[str], str]) -> str:
    """Replaces the target of each link outside of code."""

    def in_line(line: str) -> str:
        if "](" not in line:
            return line
        # Links within code are none.
        spans = [match.span() for match in CODE.finditer(line)]

        def replace(match: re.Match[str]) -> str:
            start = match.start(2)
            if any(low <= start < high for low, high in spans):
                return match[0]
            return f"{match[1]}({change(match[2])})"

        return LINK.sub(replace, line)

    return outside_code(text, in_line)


def links(text: str) -> list[str]:
    """The targets of all links outside of code."""
    found: list[str] = []

    def note(target: str) -> str:
        found.append(target)
        return target

    change_links(text, note)
    return found


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the forges and mdBook make them."""
    found: dict[str, int] = {}
    names: set[str] = set()

    def note(line: str) -> str:
        if heading := HEADING.match(line.rstrip("\n")):
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            title = re.sub(r"[`*]", "", title)
            name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            count = found.get(name, 0)
            found[name] = count + 1
            names.add(name if count == 0 else f"{name}-{count}")
        return line

    outside_code(text, note)
    return names


def summary() -> list[str]:
    """The pages of the site, relative to the root of the repository."""
    entries = [ENTRY.match(line) for line in read(SUMMARY).splitlines()]
    return [resolve(SUMMARY, entry[3]) for entry in entries if entry is not None and entry[3]]
