"""Servers and load for the measurements of this folder: redis-server, replicas of Larder, h2load.

Only the standard library is used, and a redis-server, redis-cli and h2load (`scripts/setup.sh
bench`).
"""

import atexit
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "target/bench"
# The profile of the server that is measured, and its binary.
PROFILE = os.environ.get("PROFILE", "release")
FOLDER = {"dev": "debug"}.get(PROFILE, PROFILE)
LARDER = os.environ.get("LARDER", str(ROOT / f"target/{FOLDER}/larder"))
SERVICE = "/larder.v1.CacheService/"

work = pathlib.Path(tempfile.mkdtemp(prefix="larder-scale-"))
processes = []


def _clean_up():
    for process in processes:
        process.kill()
        process.wait()
    shutil.rmtree(work, ignore_errors=True)


atexit.register(_clean_up)
# The default action would leave the servers running.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def fail(message):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {message}")


def until(condition, what, seconds=30):
    """Polls until the condition holds, and returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            fail(f"waited too long for {what}")
        time.sleep(0.02)
    return value


def build():
    print(f"building ({PROFILE})", file=sys.stderr)
    command = ["cargo", "build", "--locked", "--quiet", "--profile", PROFILE, "--bin", "larder"]
    subprocess.run(command, cwd=ROOT, check=True)


def start(command, **options):
    process = subprocess.Popen(command, **options)
    processes.append(process)
    return process


def stop(process):
    process.kill()
    process.wait()
    processes.remove(process)


def cpu_ns(pid):
    """CPU time of all threads of a process. A thread may end during the read."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except OSError:
            pass
    return total


class Redis:
    """A redis-server on a free port, without persistence; or a sentinel with a configuration."""

    def __init__(self, *arguments, file=None):
        for _ in range(10):
            self.port = random.randrange(20000, 32000)
            log = open(work / f"redis-{self.port}.log", "w")
            command = ["redis-server", *([str(file)] if file else [])]
            command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(work)]
            if file:
                command.append("--sentinel")
            else:
                command += ["--save", "", "--appendonly", "no", "--cluster-config-file"]
                command += [f"nodes-{self.port}.conf", *arguments]
            self.process = start(command, stdout=log)
            deadline = time.monotonic() + 10
            while self.process.poll() is None and time.monotonic() < deadline:
                try:
                    self.socket = socket.create_connection(("127.0.0.1", self.port), 10)
                    self.file = self.socket.makefile("rb")
                    if int(self.info("server")["process_id"]) == self.process.pid:
                        return
                except OSError:
                    time.sleep(0.02)
            processes.remove(self.process)
        fail("redis-server found no free port")

    def ask(self, *words):
        """Sends a command, and returns its answer as text, number or list."""
        parts = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(request)
        return self._answer()

    def _answer(self):
        line = self.file.readline().decode().rstrip("\r\n")
        kind, rest = line[0], line[1:]
        if kind == "-":
            fail(f"Redis: {rest}")
        if kind == ":":
            return int(rest)
        if kind == "$":
            return self.file.read(int(rest) + 2)[:-2].decode() if int(rest) >= 0 else None
        if kind == "*":
            return [self._answer() for _ in range(int(rest))]
        return rest

    def info(self, section):
        lines = self.ask("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def snapshot(self):
        """The counters that grow: calls by command, bytes, CPU of the main thread."""
        stats, calls = self.info("stats"), {}
        for name, value in self.info("commandstats").items():
            name = name.removeprefix("cmdstat_")
            calls[name] = int(re.search(r"calls=(\d+)", value)[1])
        return {
            "calls": calls,
            "commands": int(stats["total_commands_processed"]),
            "in": int(stats["total_net_input_bytes"]),
            "out": int(stats["total_net_output_bytes"]),
            "cpu": cpu_ns(self.process.pid),
            "at": time.monotonic(),
        }

    def since(self, before):
        """The growth of the counters since a snapshot, without the questions for them."""
        after = self.snapshot()
        calls = {}
        for name, count in after["calls"].items():
            if name != "info" and (grown := count - before["calls"].get(name, 0)):
                calls[name] = grown
        grown = {name: after[name] - before[name] for name in ("commands", "in", "out", "cpu")}
        return {"calls": calls, "seconds": after["at"] - before["at"], **grown}

    def stop(self):
        stop(self.process)


class Larder:
    """A replica on free ports."""

    count = 0

    def __init__(self, store, config="", **variables):
        Larder.count += 1
        name = work / f"larder-{Larder.count}"
        ports, settings = name.with_suffix(".ports"), name.with_suffix(".toml")
        settings.write_text(config)
        environment = dict(os.environ, LARDER_LISTEN="127.0.0.1:0", LARDER_STORE=store)
        environment.update(LARDER_ADMIN_LISTEN="127.0.0.1:0", LARDER_LOG__FORMAT="json")
        environment.update(variables)
        self.log = name.with_suffix(".log")
        command = [LARDER, "--config", str(settings), "--port-file", str(ports)]
        self.process = start(command, env=environment, stderr=open(self.log, "w"))
        self.address = until(lambda: self._address(ports), "a replica")

    def _address(self, ports):
        if self.process.poll() is not None:
            fail(f"larder has ended: {self.log.read_text()[-1000:]}")
        text = ports.read_text() if ports.exists() else ""
        found = re.search(r"127\.0\.0\.1:\d+", text)
        return found and text.endswith("\n") and found[0]

    def logged(self, text):
        """Waits for a line of the log."""
        until(lambda: text in self.log.read_text(), f"the log line {text!r}")

    def stop(self):
        stop(self.process)


# ---- Requests as h2load sends them --------------------------------------------------------------


def varint(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number, value):
    """A field of a message: text, bytes, a number or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def entry(namespace, key):
    """KeyRef, and the beginning of GetRequest, SetRequest, DeleteRequest, GetOrFetchRequest."""
    return field(1, namespace) + field(2, key)


def set_request(namespace, key, size, tags=()):
    value, ttl = field(1, b"v" * size), field(1, 3600)
    tags = b"".join(field(6, tag) for tag in tags)
    return entry(namespace, key) + field(4, value) + field(5, ttl) + tags


def batch(items):
    return b"".join(field(1, item) for item in items)


class Load:
    """Calls of one RPC with one message, by h2load."""

    def __init__(self, replica, rpc, message, connections, streams, seconds, rate=None):
        self.frame = work / f"{rpc}-{time.monotonic_ns()}.frame"
        self.frame.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        command = ["h2load", "-c", str(connections), "-m", str(streams), "-t", "1"]
        command += ["-D", str(seconds), "--warm-up-time", "0", "-d", str(self.frame)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        # Calls per second of each connection.
        command += ["--rps", str(rate)] if rate else []
        command.append(f"http://{replica.address}{SERVICE}{rpc}")
        self.rpc = rpc
        self.process = start(command, stdout=subprocess.PIPE, text=True)

    def finish(self):
        """Waits for the end. Returns the number of calls, and bytes per call to the caller and
        to the server, with the headers of HTTP/2 and without those of TCP."""
        # h2load reads the message from its file for each call.
        ratio, message = 0, self.frame.stat().st_size
        while self.process.poll() is None:
            try:
                text = pathlib.Path(f"/proc/{self.process.pid}/io").read_text()
                read, written = (int(number) for number in re.findall(r"char: (\d+)", text)[:2])
                ratio = written / read if read else 0
            except OSError:
                pass
            time.sleep(0.05)
        output = self.process.stdout.read()
        processes.remove(self.process)
        self.frame.unlink()
        done, failed = re.search(r"(\d+) done, \d+ succeeded, (\d+) failed", output).groups()
        if int(failed) or not int(done):
            fail(f"calls of {self.rpc} failed:\n{output}")
        received = int(re.search(r"traffic:.*?\((\d+)\) total", output)[1]) / int(done)
        return int(done), received, (received + message) * ratio


def call(replica, rpc, message):
    """One call, whose answer must be that of a success."""
    frame = work / f"{rpc}-{time.monotonic_ns()}.frame"
    frame.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    command = ["h2load", "-n", "1", "-c", "1", "-d", str(frame)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    command.append(f"http://{replica.address}{SERVICE}{rpc}")
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    frame.unlink()
    if "1 succeeded" not in output:
        fail(f"a call of {rpc} failed:\n{output}")


def table(header, rows, file):
    """Prints a table, and writes it to a file of target/bench."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / file, "a") as out:
        out.write(text + "\n")


def fresh(file):
    """Removes the tables of an earlier run."""
    (OUT / file).unlink(missing_ok=True)
