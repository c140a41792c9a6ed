"""Reads rendered Kubernetes manifests, and finds the pods in them."""

import sys
from pathlib import Path

import yaml


class Failed(Exception):
    """A check that failed, with what is wrong."""


def read(path):
    """The objects in a file of YAML documents."""
    objects = [item for item in yaml.safe_load_all(Path(path).read_text()) if item]
    if not objects:
        raise Failed(f"{path}: no objects")
    return objects


def name(item):
    """Such as Deployment/larder."""
    return f"{item['kind']}/{item['metadata']['name']}"


def of_kind(objects, *kinds):
    return [item for item in objects if item["kind"] in kinds]


def workload(objects):
    """The Deployment or StatefulSet, of which there is one."""
    found = of_kind(objects, "Deployment", "StatefulSet")
    if len(found) != 1:
        raise Failed(f"{len(found)} workloads instead of one")
    return found[0]


def pods(objects):
    """Pairs of an object's name and the spec of its pods."""
    for item in objects:
        if item["kind"] == "Pod":
            yield name(item), item["spec"]
        elif "template" in item.get("spec", {}):
            yield name(item), item["spec"]["template"]["spec"]


def main(function):
    """Runs a check, and prints what is wrong instead of a trace."""
    try:
        function()
    except Failed as failed:
        sys.exit(f"{Path(sys.argv[0]).name}: {failed}")
