#!/usr/bin/env python3
"""Keeps the table of values in the README of the chart, and checks that the schema has each value.

    chart_values.py CHART --check    fails if the table or the schema lacks something
    chart_values.py CHART --write    writes the table

A row has the comments above a key of values.yaml.
"""

import json
import re
import sys
from pathlib import Path

import yaml
from manifests import Failed, main

BEGIN = "<!-- values -->\n"
END = "<!-- end of values -->"
KEY = re.compile(r"^( *)([A-Za-z]+):(?: (.*))?$")


def rows(text):
    """Path and description of each key that has a comment or a value of its own."""
    stack, comment = [], []
    for line in text.splitlines():
        key = KEY.match(line)
        if line.strip().startswith("#"):
            comment.append(line.strip().lstrip("#").strip())
        elif key:
            depth = len(key.group(1)) // 2
            stack = [*stack[:depth], key.group(2)]
            yield ".".join(stack), " ".join(comment), key.group(3)
            comment = []
        elif not line.strip():
            comment = []


def default_of(values, path):
    for key in path.split("."):
        values = values[key]
    return values


def table(values_file):
    text = values_file.read_text()
    values = yaml.safe_load(text)
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for path, comment, inline in rows(text):
        if not comment and inline is None:
            continue
        default = default_of(values, path)
        shown = json.dumps(default) if inline is not None or not isinstance(default, dict) else ""
        shown = f"`{shown}`" if shown else ""
        lines.append(f"| `{path}` | {shown} | {comment} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def differences(values, schema, prefix=""):
    """Keys that only one of both has, in objects with fixed keys."""
    properties = schema.get("properties")
    if properties is None:
        return
    for key in sorted(values.keys() ^ properties.keys()):
        yield prefix + key
    for key in values.keys() & properties.keys():
        if isinstance(values[key], dict):
            yield from differences(values[key], properties[key], f"{prefix}{key}.")


def check_schema(chart):
    schema = json.loads((chart / "values.schema.json").read_text())
    # Helm adds it if the chart is a dependency of another.
    schema["properties"].pop("global")
    found = list(differences(yaml.safe_load((chart / "values.yaml").read_text()), schema))
    if found:
        raise Failed(f"values.yaml and values.schema.json differ in {', '.join(found)}")


def run():
    chart, mode = Path(sys.argv[1]), sys.argv[2]
    check_schema(chart)
    readme = chart / "README.md"
    head, begin, rest = readme.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Failed(f"{readme} has no place for the table")
    text = f"{head}{BEGIN}\n{table(chart / 'values.yaml')}\n{END}{tail}"
    if mode == "--write":
        readme.write_text(text)
    elif text != readme.read_text():
        raise Failed(f"{readme} is out of date: run scripts/check-deploy.sh --write")
    print("ok      values of the chart: table and schema")


if __name__ == "__main__":
    main(run)
