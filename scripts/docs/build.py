#!/usr/bin/env python3
"""Builds the site of the documentation into target/site/html.

The pages are those of docs/SUMMARY.md. They are staged under their paths in the repository, so that
their links lead to the same files, and files of the repository that a page refers to become files
of the site. The pages of `GENERATED` are made here.
"""

from __future__ import annotations

import html
import posixpath
import re
import shutil
import subprocess
import sys

import pages
import proto_reference

SITE = pages.ROOT / "target/site"
SOURCE = SITE / "src"
HTML = SITE / "html"

DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def tool(name: str) -> str:
    """The path of a pinned tool, which is installed if it is missing."""
    command = [pages.ROOT / "scripts/tools.sh", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout.strip()


def example_file() -> str:
    return (
        "# A file with every key\n\n"
        "`larder.example.toml` has every key with its default.\n"
        "[Configuration](../configuration.md) explains them.\n\n"
        f"```toml\n{pages.read('larder.example.toml')}```\n"
    )


GENERATED = {
    "docs/reference/api.md": lambda: proto_reference.markdown("larder.v1"),
    "docs/reference/origin-api.md": lambda: proto_reference.markdown("larder.origin.v1"),
    "docs/reference/example-file.md": example_file,
}


def staged_name(page: str) -> str:
    """Name of a page in the book: mdBook makes `index.html` of `index.md`."""
    folder, name = posixpath.split(page)
    return posixpath.join(folder, "index.md") if name == "README.md" else page


class Staging:
    """The folder that mdBook reads."""

    def __init__(self) -> None:
        self.pages = pages.summary()
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.problems: list[str] = []

    def write(self, path: str, text: str) -> None:
        target = SOURCE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def link(self, page: str, target: str) -> str:
        """The target of a link on the site."""
        if pages.is_outside(target) or target.startswith("#"):
            return target
        name, hash_sign, anchor = target.partition("#")
        path = pages.resolve(page, name)
        if path not in self.pages:
            readme = posixpath.join(path, "README.md")
            if readme in self.pages:
                path = readme
            elif (pages.ROOT / path).is_dir():
                self.folders.add(path)
                path = posixpath.join(path, "index.html")
            elif path.endswith(".md"):
                self.problems.append(f"{page}: {target} is not in {pages.SUMMARY}")
            elif (pages.ROOT / path).is_file():
                self.files.add(path)
            else:
                self.problems.append(f"{page}: {target} does not exist")
        return pages.relative(staged_name(page), staged_name(path)) + hash_sign + anchor

    def page(self, page: str) -> None:
        generate = GENERATED.get(page)
        text = generate() if generate else pages.read(page)
        text = pages.change_links(text, lambda target: self.link(page, target))
        text = DIAGRAM.sub(
            lambda diagram: f'<pre class="mermaid">\n{html.escape(diagram[1])}</pre>', text
        )
        self.write(staged_name(page), text)

    def summary(self) -> None:
        def target(link: str) -> str:
            return staged_name(pages.resolve(pages.SUMMARY, link))

        self.write("SUMMARY.md", pages.change_links(pages.read(pages.SUMMARY), target))

    def folder(self, folder: str) -> None:
        """A list of the files of a folder that has no page."""
        names = pages.tracked(folder)
        self.files.update(names)
        rows = "".join(
            f'<li><a href="{html.escape(pages.relative(f"{folder}/", name))}">'
            f"{html.escape(pages.relative(f'{folder}/', name))}</a></li>\n"
            for name in names
        )
        title = html.escape(folder)
        self.write(
            f"{folder}/index.html",
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            f"<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{rows}</ul>\n</html>\n",
        )

    def copy(self, path: str) -> None:
        target = SOURCE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pages.ROOT / path, target)


def stage() -> None:
    """Writes the folder that mdBook reads, or ends with the faults of the pages."""
    shutil.rmtree(SITE, ignore_errors=True)
    staging = Staging()
    staging.summary()
    for page in staging.pages:
        if page not in GENERATED and not (pages.ROOT / page).is_file():
            sys.exit(f"{pages.SUMMARY}: {page} does not exist")
        staging.page(page)
    for folder in sorted(staging.folders):
        staging.folder(folder)
    # Pages are not copied as they are: what is left has no rendered form.
    for path in sorted(path for path in staging.files if not path.endswith(".md")):
        staging.copy(path)
    if staging.problems:
        sys.exit("\n".join(staging.problems))
    # mdBook adds the style and the script to each page. The library is loaded where it is needed.
    shutil.copytree(pages.ROOT / "docs/site", SITE / "site")
    (SOURCE / "site").mkdir()
    shutil.copyfile(tool("mermaid"), SOURCE / "site/mermaid.min.js")
    shutil.copyfile(pages.ROOT / "docs/book.toml", SITE / "book.toml")


def main() -> None:
    mdbook = tool("mdbook")
    stage()
    done = subprocess.run([mdbook, "build", str(SITE)], stderr=subprocess.PIPE, text=True, check=False)
    # A warning is text that is shown in another way than its author means.
    if done.returncode != 0 or " WARN " in done.stderr:
        sys.exit(done.stderr)
    index = HTML / "index.html"
    print(f"built   {index.relative_to(pages.ROOT)}, {len(pages.summary())} pages")


if __name__ == "__main__":
    main()
