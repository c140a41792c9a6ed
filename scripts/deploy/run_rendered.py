#!/usr/bin/env python3
"""Runs the real server as the pods of rendered manifests would: with their arguments, variables and
files, and without Redis, which Larder does not need to start. Then each probe of the manifest must
succeed, and the server must end within the grace period.

    run_rendered.py LARDER FILE...

Secrets have generated certificates and tokens. Paths are below a temporary directory.
"""

import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from manifests import Failed, main, of_kind, read, workload

START_SECONDS = 30
# The files of every Secret, apart from certificates.
SECRET = "x" * 40


def fill_secret(larder, directory, volume):
    """Writes the files of a mounted Secret."""
    directory.mkdir(parents=True)
    certs = ["certs", "--out", str(directory), "--host", "localhost"]
    subprocess.run([larder, *certs], check=True, capture_output=True)
    (directory / "server.crt").rename(directory / "tls.crt")
    (directory / "server.key").rename(directory / "tls.key")
    for file in ("key", "token"):
        (directory / file).write_text(SECRET)
    digest = subprocess.run([larder, "token", "new"], check=True, capture_output=True, text=True)
    (directory / "digest").write_text(re.search("sha256:[^ \n\"]+", digest.stdout).group())
    (directory / "url").write_text("redis://127.0.0.1:1\n")
    for item in volume["secret"].get("items", []):
        if not (directory / item["path"]).exists():
            raise Failed(f"the check has no file {item['path']} for {volume['name']}")


def lay_out(larder, objects, spec, root):
    """Makes the files that the container sees, below `root`."""
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    configs = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap")}
    for mount in spec["containers"][0]["volumeMounts"]:
        directory = root / mount["mountPath"].lstrip("/")
        volume = volumes.get(mount["name"], {})
        if "secret" in volume:
            fill_secret(larder, directory, volume)
            continue
        directory.mkdir(parents=True)
        if "configMap" in volume:
            for file, text in configs[volume["configMap"]["name"]].items():
                # The absolute paths of the container.
                text = re.sub(r"/(run/secrets|var/lib)/larder", rf"{root}/\1/larder", text)
                (directory / file).write_text(text)


def environment(container, root):
    """The variables of the container, with any value for those of Secrets."""
    values = {"PATH": os.environ["PATH"]}
    for variable in container["env"]:
        secret = variable.get("valueFrom", {}).get("secretKeyRef", {})
        # An optional Secret is not there.
        if not secret.get("optional"):
            values[variable["name"]] = variable.get("value", SECRET)
    values["LARDER_CONFIG"] = str(root) + values["LARDER_CONFIG"]
    text = Path(values["LARDER_CONFIG"]).read_text()
    if "envFrom" in container:
        values.update(dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", text), SECRET))
    return values


def admin_address(process, port_file, log):
    """Waits for the start. Returns the address of the admin port."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"the server ended with {process.returncode}: {log.read_text()}")
        if port_file.exists():
            return re.search("LARDER_ADMIN_LISTEN=(.*)", port_file.read_text()).group(1)
        time.sleep(0.02)
    raise Failed(f"the server did not start in {START_SECONDS} s: {log.read_text()}")


def probe(action, address):
    url = f"{action['scheme'].lower()}://{address}{action['path']}"
    # As the kubelet does, which verifies no certificate.
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(url, timeout=3, context=context) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return error


def first_success(action, address):
    """Asks until the answer is 200, or the time is over. Returns the last answer."""
    deadline = time.monotonic() + START_SECONDS
    while (answer := probe(action, address)) != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def run(larder, path, root):
    objects = read(path)
    spec = workload(objects)["spec"]["template"]["spec"]
    container = spec["containers"][0]
    lay_out(larder, objects, spec, root)
    variables = environment(container, root)
    command = [larder, "check-config"]
    checked = subprocess.run(command, env=variables, capture_output=True, text=True)
    if checked.returncode != 0:
        raise Failed(f"check-config: {checked.stderr}")
    # Free ports, of this machine only.
    variables |= dict.fromkeys(("LARDER_LISTEN", "LARDER_ADMIN_LISTEN"), "127.0.0.1:0")
    port_file, log = root / "ports", root / "log"
    command = [larder, *container["args"], "--port-file", str(port_file)]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=output)
    try:
        address = admin_address(process, port_file, log)
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            answer = first_success(container[kind]["httpGet"], address)
            if answer != 200:
                raise Failed(f"{kind}: {answer}: {log.read_text()}")
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=spec["terminationGracePeriodSeconds"])
        if code != 0:
            raise Failed(f"exit code {code} after SIGTERM: {log.read_text()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def run_all():
    larder = sys.argv[1]
    for path in sys.argv[2:]:
        with tempfile.TemporaryDirectory() as root:
            try:
                run(larder, path, Path(root))
            except Failed as failed:
                raise Failed(f"{path}: {failed}") from failed
        print(f"ok      {Path(path).name}: check-config, start, probes, stop")


if __name__ == "__main__":
    main(run_all)
