"""The reference of the API, from the protos and their comments.

`buf build` gives the descriptors as JSON, with comments.
"""

from __future__ import annotations

import json
import re
import subprocess

import pages

# A comment on `package` is about the whole file.
PACKAGE = 2
# Numbers of fields in descriptor.proto, which are the path of a comment.
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, NESTED_MESSAGE, NESTED_ENUM, ONEOF = 2, 3, 4, 8


def tool(name: str) -> str:
    command = [pages.ROOT / "scripts/tools.sh", name]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def descriptors(package: str) -> list[dict]:
    """The files of a package."""
    command = [tool("buf"), "build", "proto", "--output", "-#format=json"]
    done = subprocess.run(command, cwd=pages.ROOT, check=True, capture_output=True, text=True)
    files = json.loads(done.stdout)["file"]
    files = [file for file in files if file.get("package") == package]
    # The service that most callers need comes first.
    return sorted(files, key=lambda file: ("cache_service" not in file["name"], file["name"]))


def anchor(name: str) -> str:
    return name.lower().replace(".", "").replace("/", "")


class Reference:
    """Markdown of one file."""

    def __init__(self, file: dict) -> None:
        self.file = file
        self.package = file["package"]
        self.lines: list[str] = []
        self.comments: dict[tuple[int, ...], str] = {}
        for location in file.get("sourceCodeInfo", {}).get("location", []):
            comment = location.get("leadingComments") or location.get("trailingComments")
            if comment:
                self.comments[tuple(location.get("path", []))] = comment

    def comment(self, path: tuple[int, ...]) -> str:
        """The comment as a paragraph of Markdown."""
        text = self.comments.get(path, "")
        # Text such as `<name>` would be a tag.
        lines = "\n".join(line.strip() for line in text.splitlines())
        return re.sub(r"<(?=[a-zA-Z/])", r"\\<", lines)

    def cell(self, path: tuple[int, ...]) -> str:
        """The comment within one cell of a table."""
        text = re.sub(r"\n\n+", "<br>", self.comment(path).strip())
        return text.replace("\n", " ").replace("|", "\\|")

    def type_of(self, field: dict) -> str:
        name = field.get("typeName", "").removeprefix(".")
        if not name:
            plain = field["type"].removeprefix("TYPE_").lower()
            return f"`{plain}`"
        entry = self.maps.get(name)
        if entry is not None:
            key, value = (self.type_of(part) for part in entry["field"])
            return f"map of {key} to {value}"
        short = name.removeprefix(f"{self.package}.")
        return f"[{short}](#{anchor(short)})" if name != short else f"`{name}`"

    def message(self, message: dict, path: tuple[int, ...], scope: str) -> None:
        name = f"{scope}{message['name']}"
        if message.get("options", {}).get("mapEntry"):
            return
        self.lines += [f"### {name}", "", self.comment(path), ""]
        fields = message.get("field", [])
        if fields:
            self.lines += ["| field | type | meaning |", "|---|---|---|"]
        for number, field in enumerate(fields):
            self.lines.append(self.field(message, field, (*path, FIELD, number), path))
        self.lines.append("")
        for number, nested in enumerate(message.get("nestedType", [])):
            self.message(nested, (*path, NESTED_MESSAGE, number), f"{name}.")
        for number, nested in enumerate(message.get("enumType", [])):
            self.enum(nested, (*path, NESTED_ENUM, number), f"{name}.")

    def field(self, message: dict, field: dict, path: tuple[int, ...], parent: tuple) -> str:
        meaning = self.cell(path)
        kind = self.type_of(field)
        if field.get("label") == "LABEL_REPEATED" and not kind.startswith("map of"):
            kind = f"repeated {kind}"
        if field.get("proto3Optional"):
            kind = f"optional {kind}"
        elif "oneofIndex" in field:
            index = field["oneofIndex"]
            kind = f"{kind}, one of `{message['oneofDecl'][index]['name']}`"
            meaning = meaning or self.cell((*parent, ONEOF, index))
        deprecated = "Deprecated. " if field.get("options", {}).get("deprecated") else ""
        return f"| `{field['name']}` ({field['number']}) | {kind} | {deprecated}{meaning} |"

    def enum(self, enum: dict, path: tuple[int, ...], scope: str) -> None:
        self.lines += [f"### {scope}{enum['name']}", "", self.comment(path), ""]
        self.lines += ["| value | number | meaning |", "|---|---|---|"]
        for number, value in enumerate(enum["value"]):
            meaning = self.cell((*path, 2, number))
            self.lines.append(f"| `{value['name']}` | {value.get('number', 0)} | {meaning} |")
        self.lines.append("")

    def service(self, service: dict, path: tuple[int, ...]) -> None:
        name = f"{self.package}.{service['name']}"
        self.lines += [f"## {name}", "", self.comment(path), ""]
        for number, method in enumerate(service["method"]):
            ends = []
            for end, is_stream in (
                ("inputType", "clientStreaming"),
                ("outputType", "serverStreaming"),
            ):
                stream = "stream of " if method.get(is_stream) else ""
                ends.append(stream + self.type_of({"typeName": method[end]}))
            self.lines += [
                f"### {method['name']}",
                "",
                f"{ends[0]} → {ends[1]}",
                "",
                self.comment((*path, 2, number)),
                "",
            ]

    def markdown(self) -> str:
        self.maps = {}
        for message in self.file.get("messageType", []):
            self.note_maps(message, f"{self.package}.")
        for number, service in enumerate(self.file.get("service", [])):
            self.service(service, (SERVICE, number))
        self.lines += [f"## Messages of {self.file['name'].rsplit('/', 1)[1]}", ""]
        for number, message in enumerate(self.file.get("messageType", [])):
            self.message(message, (MESSAGE, number), "")
        for number, enum in enumerate(self.file.get("enumType", [])):
            self.enum(enum, (ENUM, number), "")
        return "\n".join(self.lines)

    def note_maps(self, message: dict, scope: str) -> None:
        for nested in message.get("nestedType", []):
            self.note_maps(nested, f"{scope}{message['name']}.")
        if message.get("options", {}).get("mapEntry"):
            self.maps[f"{scope}{message['name']}"] = message


def markdown(package: str) -> str:
    """The page of a package."""
    references = [Reference(file) for file in descriptors(package)]
    parts = [f"# {package}", "", "From the protos and their comments:", ""]
    for reference in references:
        name = reference.file["name"]
        parts.append(f"- [{name}](../../proto/{name})")
    parts += ["", "[Errors](../errors.md) has the reasons in ErrorInfo.", ""]
    for reference in references:
        parts += [reference.comment((PACKAGE,)), "", reference.markdown()]
    return "\n".join(parts)
