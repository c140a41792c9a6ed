#!/usr/bin/env python3
"""Makes `suite.json` from the cases, and refuses cases that the grammar does not allow.

    build.py           write suite.json
    build.py --check   fail if suite.json is not up to date
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
SUITE = FOLDER / "suite.json"
VERSION = 1
MINIMUM = 120

CASE_FIELDS = {
    "name", "needs", "via", "namespace", "clients", "handles", "loaders", "each", "steps",
}
# Features that a case names. The others follow from its steps.
NAMED_FEATURES = {
    "big_integers", "call_keys", "more_types", "near_cache", "pass_on", "threads", "tracing",
    "two_clients",
}
VIA = {"server", "proxy", "gateway"}
HANDLE_FIELDS = {"client", "namespace", "ttl", "tags", "on_error", "near_cache"}
CLIENT_FIELDS = {
    "preset", "on_error", "token", "schema_version", "call_timeout", "connect_timeout",
    "namespace_prefix", "target",
}
LOADER_FIELDS = {"value", "by_key", "fail", "gate", "delay", "ttl", "tags", "store"}
STEP_FIELDS = {
    "do", "handle", "args", "expect", "raises", "bind", "as", "copies", "for_each", "wait_until",
    "within", "at_least", "join", "cancel", "open", "loading", "loads", "loaded_keys", "advance",
    "real", "traced", "watched", "never", "ended", "server", "fault", "delay", "connections",
    "script", "calls", "counters",
}
# Exactly one of them makes the kind of a step.
STEP_KINDS = {
    "do", "join", "cancel", "open", "loading", "loads", "advance", "server", "fault",
    "connections", "script", "calls", "counters", "watched",
}
READ = {"key", "params"}
OPERATIONS = {
    "get": READ | {"max_stale", "consistent", "touch"},
    "get_and_change": {"key", "path", "value"},
    "set": READ | {"value", "ttl", "tags", "if_absent", "if_present", "if_version"},
    "delete": READ | {"if_version", "hold_off", "return_value"},
    "get_many": {"keys"},
    "set_many": {"items", "ttl", "tags"},
    "delete_many": {"keys"},
    "contains": READ,
    "touch": READ | {"ttl"},
    "increment": READ | {"delta", "initial", "ttl", "if_present"},
    "patch": READ | {"merge", "json_patch", "if_version", "ttl", "keep_ttl"},
    "get_or_fetch": READ | {"loader", "ttl", "tags", "timeout", "refresh", "max_stale"},
    "get_or_fetch_many": {"keys", "loader", "ttl", "tags", "timeout", "refresh"},
    "invalidate": {"tags", "globs", "keys", "hold_off"},
    "invalidate_namespace": set(),
    "publish_event": {"name", "attributes"},
    "list_keys": {"glob", "page_size"},
    "count_keys": {"glob"},
    "stats": set(),
    "watch": {"keys"},
    "connect": set(),
    "close": set(),
    "new_client": CLIENT_FIELDS,
    "call": {"function", "positional", "named"},
}
RAISES_FIELDS = {"class", "code", "reason", "message", "retry_after", "loader", "cancelled"}
# Namespaces with a configuration of their own, which cases share.
SHARED = {"stale", "stale-error", "lease", "backoff", "small", "clamped", "events"}


class CaseError(Exception):
    """A case that the grammar does not allow."""


def check_fields(place, given, allowed):
    unknown = set(given) - allowed
    if unknown:
        raise CaseError(f"{place}: unknown {', '.join(sorted(unknown))}")


def filled(template, row):
    """The template with `${name}` replaced; a text that is one such name becomes the value."""
    if isinstance(template, str):
        whole = re.fullmatch(r"\$\{(\w+)\}", template)
        if whole:
            return row[whole[1]]
        return re.sub(r"\$\{(\w+)\}", lambda name: str(row[name[1]]), template)
    if isinstance(template, list):
        return [filled(item, row) for item in template]
    if isinstance(template, dict):
        return {filled(name, row): filled(value, row) for name, value in template.items()}
    return template


def expanded(case):
    rows = case.get("each", [{}])
    rest = {name: value for name, value in case.items() if name != "each"}
    return [filled(rest, row) for row in rows]


def check_step(place, step, case):
    check_fields(place, step, STEP_FIELDS)
    kinds = STEP_KINDS & set(step)
    if len(kinds) != 1:
        raise CaseError(f"{place}: one of {', '.join(sorted(STEP_KINDS))} is needed")
    if "fault" in step or "connections" in step:
        targets = [options.get("target", "") for options in case.get("clients", {}).values()]
        if case.get("via") != "proxy" and not any("{proxy}" in target for target in targets):
            raise CaseError(f"{place}: the client must connect by the proxy")
    if ("script" in step or "calls" in step) and case.get("via") != "gateway":
        raise CaseError(f"{place}: the client must connect by the gateway")
    if "do" in step:
        operation = step["do"]
        if operation not in OPERATIONS:
            raise CaseError(f"{place}: no operation {operation}")
        check_fields(f"{place}: args", step.get("args", {}), OPERATIONS[operation])
        handles = {"a", *case.get("clients", {}), *case.get("handles", {})}
        if step.get("handle", "a") not in handles:
            raise CaseError(f"{place}: no handle {step['handle']}")
        loader = step.get("args", {}).get("loader")
        if loader is not None and loader not in case.get("loaders", {}):
            raise CaseError(f"{place}: no loader {loader}")
    if "raises" in step:
        check_fields(f"{place}: raises", step["raises"], RAISES_FIELDS)
    for name in list(step.get("loads", {})) + list(step.get("loading", {})):
        if name not in case.get("loaders", {}):
            raise CaseError(f"{place}: no loader {name}")


def features(case):
    """All features that a case needs, sorted."""
    found = set(case.get("needs", []))
    for step in case["steps"]:
        if "server" in step:
            found.add("server")
        if "fault" in step or "connections" in step:
            found.add("proxy")
        if "cancel" in step:
            found.add("cancel")
        if "script" in step:
            found.add("gateway")
        if "calls" in step:
            found.add("calls")
            # A fake has no deadlines and no metadata on a wire.
            on_wire = {"timeout_ms", "metadata"}
            if any(on_wire & set(step["calls"].get(name, {})) for name in ("first", "each")):
                found.add("gateway")
    return sorted(found)


def keys_of(step):
    """Keys that a step names as plain text."""
    args = step.get("args", {})
    named = [args.get("key")] + (args["keys"] if isinstance(args.get("keys"), list) else [])
    named += [name for name in args.get("items", {}) if not name.startswith("$")]
    return {key for key in named if isinstance(key, str) and not key.startswith("$")}


def check_case(case, topic, owners):
    place = f"{topic}/{case['name']}"
    check_fields(place, case, CASE_FIELDS)
    if not re.fullmatch(r"[a-z0-9-]+", case["name"]):
        raise CaseError(f"{place}: a name has lower case, digits and dashes")
    check_fields(f"{place}: needs", case.get("needs", []), NAMED_FEATURES)
    if case.get("via", "server") not in VIA:
        raise CaseError(f"{place}: via is one of {', '.join(sorted(VIA))}")
    for name, options in case.get("clients", {}).items():
        check_fields(f"{place}: client {name}", options, CLIENT_FIELDS)
    for name, options in case.get("handles", {}).items():
        check_fields(f"{place}: handle {name}", options, HANDLE_FIELDS)
    for name, options in case.get("loaders", {}).items():
        check_fields(f"{place}: loader {name}", options, LOADER_FIELDS)
    for number, step in enumerate(case["steps"], 1):
        check_step(f"{place}: step {number}", step, case)
        if isinstance(case.get("namespace"), str) and case["namespace"] in SHARED:
            for key in keys_of(step):
                owner = owners.setdefault((case["namespace"], key), place)
                if owner != place:
                    raise CaseError(f"{place}: the key {key} is also that of {owner}")


def read_cases():
    cases, owners = [], {}
    for path in sorted((FOLDER / "cases").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        topic = content["topic"]
        if topic != path.stem:
            raise CaseError(f"{path.name}: its topic is {topic}")
        for template in content["cases"]:
            for case in expanded(template):
                check_case(case, topic, owners)
                cases.append({**case, "id": f"{topic}/{case['name']}", "needs": features(case)})
    ids = [case["id"] for case in cases]
    twice = {name for name in ids if ids.count(name) > 1}
    if twice:
        raise CaseError(f"these are there twice: {', '.join(sorted(twice))}")
    if len(cases) < MINIMUM:
        raise CaseError(f"there are {len(cases)} cases, and must be {MINIMUM}")
    return cases


def server_settings():
    return tomllib.loads((FOLDER / "larder.toml").read_text(encoding="utf-8"))


def configuration():
    """Settings of the namespaces, for fakes: durations in milliseconds, sizes in bytes."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "KiB": 1024}

    def plain(value):
        found = re.fullmatch(r"(\d+)(\w+)", value) if isinstance(value, str) else None
        return int(found[1]) * units[found[2]] if found else value

    content = server_settings()
    every = {"": content["defaults"], **content["namespaces"]}
    return {
        name: {setting: plain(value) for setting, value in settings.items()}
        for name, settings in every.items()
    }


def rendered():
    matrix = yaml.safe_load((FOLDER / "matrix.yaml").read_text(encoding="utf-8"))
    suite = {
        "version": VERSION,
        "configuration": configuration(),
        "events": server_settings()["events"],
        "cases": read_cases(),
        "matrix": matrix["values"],
    }
    return json.dumps(suite, indent=1, ensure_ascii=True) + "\n"


def main():
    try:
        text = rendered()
    except CaseError as error:
        sys.exit(f"build.py: {error}")
    if sys.argv[1:] == ["--check"]:
        if not SUITE.exists() or SUITE.read_text(encoding="utf-8") != text:
            sys.exit("suite.json is not up to date: run clients/conformance/build.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        SUITE.write_text(text, encoding="utf-8")
    suite = json.loads(text)
    print(f"{len(suite['cases'])} cases, {len(suite['matrix'])} values of the matrix")


if __name__ == "__main__":
    main()
