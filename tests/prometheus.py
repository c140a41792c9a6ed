#!/usr/bin/env python3
"""Runs all queries of the dashboards and all rules in a real Prometheus, which scrapes three replicas
on a real Redis. Needs target/debug/larder, redis-server and prometheus: `make prometheus`.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
LARDER = ROOT / "target/debug/larder"
REPLICAS = 3
# Time until a server is ready, or a condition holds.
LIMIT = 60
# Queries that have data after the calls below. The others need faults, origins or other stores.
MIN_QUERIES_WITH_DATA = 70
HISTOGRAMS = ("rpc_server_call_duration_seconds", "db_client_operation_duration_seconds")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(what, check):
    """Polls until `check` returns something true."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        result = check()
        if result:
            return result
        time.sleep(0.2)
    sys.exit(f"timed out after {LIMIT} s: {what}")


class Prometheus:
    def __init__(self, port):
        self.port = port

    def ask(self, path, **parameters):
        """The data of an answer of the API, and its error."""
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}"
        try:
            with urllib.request.urlopen(url, timeout=LIMIT) as answer:
                return json.load(answer)["data"], None
        except urllib.error.HTTPError as error:
            return None, error.read().decode()
        except OSError as error:
            return None, str(error)

    def series(self, expression):
        data, _ = self.ask("query", query=expression)
        return data["result"] if data else []


def start_replica(directory, number, redis):
    ports = directory / f"ports-{number}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LARDER_")},
        "LARDER_STORE": f"redis://127.0.0.1:{redis}",
        # Nothing receives the traces: the exemplars need none.
        "LARDER_TELEMETRY__OTLP_ENDPOINT": "http://127.0.0.1:1",
        "LARDER_TELEMETRY__SAMPLE_RATIO": "1",
    }
    listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    log = (directory / f"log-{number}").open("w")
    command = [LARDER, "serve", *listen, "--port-file", ports]
    process = subprocess.Popen(command, env=environment, stderr=log)
    eventually("a replica serves", ports.exists)
    lines = ports.read_text().splitlines()
    addresses = dict(line.split("=", 1) for line in lines)
    return process, addresses["LARDER_LISTEN"], addresses["LARDER_ADMIN_LISTEN"]


def call(address, *arguments):
    command = [LARDER, *arguments, "--address", address]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def make_calls(addresses):
    for address in addresses:
        for arguments in (
            ("set", "ns", "k", "v", "--tag", "t"),
            ("get", "ns", "k", "missing"),
            ("fetch", "ns", "leased", "--wait", "0s"),
            ("fetch", "ns", "leased", "--wait", "0s"),
            ("invalidate", "ns", "--tag", "t"),
            ("delete", "ns", "k"),
            ("get", "ns", ""),
        ):
            call(address, *arguments)


def check_panels(prometheus):
    errors, with_data, total = [], 0, 0
    for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = re.sub(r"\$(job|replica|namespace)", ".*", target["expr"])
                expression = expression.replace("$__rate_interval", "1m")
                data, error = prometheus.ask("query", query=expression)
                total += 1
                if error:
                    errors.append(f"{path.name}: {panel['title']}: {error}")
                elif data["result"]:
                    with_data += 1
    if errors or with_data < MIN_QUERIES_WITH_DATA:
        sys.exit("\n".join([f"{with_data} of {total} queries have data", *errors]))
    print(f"{total} queries are answered, {with_data} of them with data")


def check_rules(prometheus):
    def healthy():
        data, _ = prometheus.ask("rules")
        rules = [rule for group in data["groups"] for rule in group["rules"]] if data else []
        errors = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]
        if errors:
            sys.exit("\n".join(errors))
        return len(rules) if rules and all(rule["health"] == "ok" for rule in rules) else None

    print(f"{eventually('all rules are evaluated', healthy)} rules are evaluated")


def check_exemplars(prometheus):
    for name in HISTOGRAMS:
        def traced():
            now = time.time()
            query = {"query": f"{name}_bucket", "start": now - 600, "end": now}
            data, _ = prometheus.ask("query_exemplars", **query)
            return [one["labels"]["trace_id"] for series in data or [] for one in series["exemplars"]]

        traces = eventually(f"{name} has exemplars", traced)
        if not all(re.fullmatch("[0-9a-f]{32}", trace) for trace in traces):
            sys.exit(f"{name}: {traces}")
    print("the histograms have exemplars")


def check_outage(prometheus, redis):
    """The breakers open while Redis is paused, and close after it."""
    redis.send_signal(signal.SIGSTOP)
    query = "sum(larder_store_breaker_open) == {}"
    eventually("the breakers open", lambda: prometheus.series(query.format(REPLICAS)))
    redis.send_signal(signal.SIGCONT)
    eventually("the breakers close", lambda: prometheus.series(query.format(0)))
    print("an outage of Redis is seen")


def main():
    started = time.monotonic()
    processes = []
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        try:
            port = free_port()
            command = ["redis-server", "--port", str(port), "--save", "", "--dir", name]
            redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            processes.append(redis)
            replicas = []
            for number in range(REPLICAS):
                process, address, admin = start_replica(directory, number, port)
                processes.append(process)
                replicas.append((address, admin))
            targets = ", ".join(f"'{admin}'" for _, admin in replicas)
            configuration = directory / "prometheus.yml"
            configuration.write_text(
                "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\n"
                f"rule_files: ['{ROOT}/deploy/prometheus/rules/*.yml']\n"
                "scrape_configs:\n  - job_name: larder\n"
                f"    static_configs: [{{targets: [{targets}]}}]\n"
            )
            prometheus = Prometheus(free_port())
            processes.append(
                subprocess.Popen([
                    "prometheus",
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={directory}/data",
                    f"--web.listen-address=127.0.0.1:{prometheus.port}",
                    "--enable-feature=exemplar-storage",
                    "--log.level=error",
                ])
            )
            eventually("all replicas are scraped", lambda: prometheus.series(f"sum(up) == {REPLICAS}"))
            make_calls([address for address, _ in replicas])
            counted = "count(rate(larder_leases_refused_total[1m]))"
            eventually("the calls are counted", lambda: prometheus.series(counted))
            check_panels(prometheus)
            check_rules(prometheus)
            check_exemplars(prometheus)
            check_outage(prometheus, redis)
        finally:
            for process in reversed(processes):
                process.kill()
            for process in processes:
                process.wait()
    print(f"passed in {time.monotonic() - started:.0f} s")


main()
