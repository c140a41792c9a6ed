#!/usr/bin/env python3
"""Checks the links of the documents.

    scripts/docs/links.py          the Markdown of the repository, and mentions of it in other files
    scripts/docs/links.py --site   also the site, as scripts/docs/build.py has built it

A link must lead to a file of the repository, and its anchor to a heading. On the site, a link must
lead to a file of the site and to an element, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import functools
import html.parser
import pathlib
import posixpath
import re
import sys
import urllib.parse

import build
import pages

# A document in the text of another file, such as a comment: `docs/scale.md#sizing`.
MENTION = re.compile(r"(?<![\w/.-])((?:clients/\w+/)?docs/[\w/.-]+\.md)(#[\w-]+)?")
# Source text in which such a name is that of a document.
TEXTS = ("*.rs", "*.py", "*.sh", "*.toml", "*.yml", "*.yaml", "*.proto", "*.lua", "Makefile")
# Attributes by which a page loads a file.
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")}


@functools.cache
def anchors(path: str) -> set[str]:
    return pages.anchors(pages.read(path))


def markdown_faults() -> tuple[int, list[str]]:
    """The number of links in Markdown, and those that lead nowhere."""
    count, faults = 0, []
    for page in pages.tracked("*.md"):
        for target in pages.links(pages.read(page)):
            count += 1
            if pages.is_outside(target):
                continue
            name, _, anchor = target.partition("#")
            path = pages.resolve(page, name) if name else page
            if path in build.GENERATED:
                continue
            if not (pages.ROOT / path).exists():
                faults.append(f"{page}: {target} does not exist")
            elif anchor and path.endswith(".md") and anchor not in anchors(path):
                faults.append(f"{page}: {target} has no such heading")
    return count, faults


def mention_faults() -> tuple[int, list[str]]:
    """The number of mentions of documents in other files, and those that do not exist."""
    count, faults = 0, []
    for file in pages.tracked(*TEXTS):
        text = pages.read(file)
        for mention in MENTION.finditer(text):
            path, anchor = mention[1], (mention[2] or "")[1:]
            # The documents of a library are named relative to it.
            within = posixpath.join("/".join(file.split("/")[:2]), path)
            path = within if (pages.ROOT / within).exists() else path
            count += 1
            line = text.count("\n", 0, mention.start()) + 1
            if path in build.GENERATED:
                continue
            if not (pages.ROOT / path).exists():
                faults.append(f"{file}:{line}: {mention[0]} does not exist")
            elif anchor and anchor not in anchors(path):
                faults.append(f"{file}:{line}: {mention[0]} has no such heading")
    return count, faults


class Document(html.parser.HTMLParser):
    """Identifiers and links of a page of the site."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.identifiers: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value is None:
                continue
            if name == "id" or (tag, name) == ("a", "name"):
                self.identifiers.add(value)
            elif (tag, name) in LOADED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def site_faults() -> tuple[int, list[str]]:
    """The number of links of the site, and those that lead nowhere or out of it."""
    root = build.HTML
    documents = {
        path: Document(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.html"))
    }
    count, faults = 0, []
    for path, document in documents.items():
        # The page for a missing address has links from the root.
        if path == root / "404.html":
            continue
        shown = path.relative_to(root)
        for link in document.links + document.loaded:
            count += 1
            if pages.is_outside(link) or link.startswith("//"):
                if link in document.loaded:
                    faults.append(f"{shown}: {link} is loaded from elsewhere")
                continue
            name, _, anchor = urllib.parse.unquote(link).partition("#")
            target = pathlib.Path(posixpath.normpath(path.parent / name)) if name else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                faults.append(f"{shown}: {link} does not exist")
            elif anchor and target in documents and anchor not in documents[target].identifiers:
                faults.append(f"{shown}: {link} has no such element")
    return count, faults


def main() -> None:
    checks = [("links in Markdown", markdown_faults), ("mentions of documents", mention_faults)]
    if sys.argv[1:] == ["--site"]:
        if not (build.HTML / "index.html").exists():
            sys.exit("the site is not built: run scripts/docs/build.py")
        checks.append(("links of the site", site_faults))
    elif sys.argv[1:]:
        sys.exit("usage: scripts/docs/links.py [--site]")
    all_faults = []
    for name, check in checks:
        count, faults = check()
        print(f"{'ok    ' if not faults else 'FAILED'} {count} {name}")
        all_faults += faults
    if all_faults:
        sys.exit("\n".join(sorted(set(all_faults))))


if __name__ == "__main__":
    main()
