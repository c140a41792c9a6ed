#!/usr/bin/env python3
"""Checks rendered manifests: each object against the schema of Kubernetes, unknown fields included;
that names, ports, volumes and labels fit together; and that pods keep the standard `restricted`.

    check_manifests.py FILE...

It needs the Python package kubernetes-validate, which has the schemas.
"""

import functools
import json
import re
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
from manifests import Failed, main, name, of_kind, pods, read, workload
from referencing import Registry, Resource

# The oldest version that Chart.yaml allows, and the newest one with schemas.
VERSIONS = ("1.27.0", "1.37.0")
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
# Objects that Kubernetes itself does not have.
OWN_SCHEMAS = {"ServiceMonitor": Path(__file__).parent / "servicemonitor.schema.json"}


def load(path):
    return Resource.from_contents(json.loads(path.read_text()))


@functools.cache
def definitions(version):
    return load(SCHEMAS / f"v{version}-local-strict" / "_definitions.json") @ Registry()


@functools.cache
def validator(version, kind, api_version):
    if kind in OWN_SCHEMAS:
        return jsonschema.Draft7Validator(json.loads(OWN_SCHEMAS[kind].read_text()))
    group, _, rest = api_version.rpartition("/")
    prefix = group.split(".")[0] + "-" if group else ""
    path = SCHEMAS / f"v{version}-local-strict" / f"{kind.lower()}-{prefix}{rest}.json"
    if not path.exists():
        raise Failed(f"Kubernetes {version} has no {kind} of {api_version}")
    registry = load(path) @ definitions(version)
    schema = json.loads(path.read_text())
    return jsonschema.Draft202012Validator(schema, registry=registry)


def check_schema(item):
    for version in VERSIONS:
        check = validator(version, item["kind"], item["apiVersion"])
        error = jsonschema.exceptions.best_match(check.iter_errors(item))
        if error:
            place = ".".join(str(key) for key in error.absolute_path)
            raise Failed(f"{name(item)}, Kubernetes {version}: {place}: {error.message}")


def require(condition, text):
    if not condition:
        raise Failed(text)


def check_restricted(owner, spec):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards: restricted."""
    pod = spec.get("securityContext", {})
    require(pod.get("runAsNonRoot") is True, f"{owner}: runAsNonRoot")
    require(pod.get("runAsUser", 0) > 0, f"{owner}: runAsUser")
    require(pod.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{owner}: seccompProfile")
    require(spec.get("automountServiceAccountToken") is False, f"{owner}: a mounted token")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        require(not spec.get(key), f"{owner}: {key}")
    kinds = {kind for volume in spec.get("volumes", []) for kind in volume} - {"name"}
    require(kinds <= {"configMap", "secret", "emptyDir"}, f"{owner}: volumes of {kinds}")
    for container in spec["containers"]:
        own = container.get("securityContext", {})
        require(own.get("allowPrivilegeEscalation") is False, f"{owner}: privilege escalation")
        require(own.get("readOnlyRootFilesystem") is True, f"{owner}: a writable file system")
        require(own.get("capabilities") == {"drop": ["ALL"]}, f"{owner}: capabilities")
        require("memory" in container["resources"].get("limits", {}), f"{owner}: memory limit")


def check_volumes(owner, spec, claims):
    volumes = {volume["name"] for volume in spec.get("volumes", [])} | claims
    for container in spec["containers"]:
        mounts = container.get("volumeMounts", [])
        paths = [mount["mountPath"] for mount in mounts]
        require(len(paths) == len(set(paths)), f"{owner}: two mounts at one path")
        used = {mount["name"] for mount in mounts}
        require(used == volumes, f"{owner}: volumes {volumes} and mounts {used}")


def check_references(objects):
    main_object = workload(objects)
    template = main_object["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}

    def selects(selector, owner):
        require(selector and selector.items() <= labels.items(), f"{owner} selects no pods")

    selects(main_object["spec"]["selector"]["matchLabels"], name(main_object))
    for service in of_kind(objects, "Service"):
        selects(service["spec"]["selector"], name(service))
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        require(targets <= ports, f"{name(service)}: unknown ports {targets - ports}")
    for budget in of_kind(objects, "PodDisruptionBudget"):
        selects(budget["spec"]["selector"]["matchLabels"], name(budget))
    for policy in of_kind(objects, "NetworkPolicy"):
        selects(policy["spec"]["podSelector"]["matchLabels"], name(policy))
        for rule in policy["spec"]["ingress"]:
            require(rule["from"], f"{name(policy)}: a rule for all peers")
            require({port["port"] for port in rule["ports"]} <= ports, f"{name(policy)}: ports")
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        found = f"{target['kind']}/{target['name']}"
        require(found == name(main_object), f"{name(scaler)} scales {found}")
        require("replicas" not in main_object["spec"], f"{found} and its scaler set replicas")
    for spread in template["spec"].get("topologySpreadConstraints", []):
        selects(spread["labelSelector"]["matchLabels"], "topologySpreadConstraints")
    if main_object["kind"] == "StatefulSet":
        services = {service["metadata"]["name"]: service for service in of_kind(objects, "Service")}
        wanted = main_object["spec"]["serviceName"]
        require(services[wanted]["spec"]["clusterIP"] == "None", f"{wanted} is not headless")
    account = template["spec"]["serviceAccountName"]
    accounts = {item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")}
    require(account in accounts | {"default"}, f"no ServiceAccount {account}")
    monitored = [service["metadata"]["labels"] for service in of_kind(objects, "Service")]
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [one for one in monitored if wanted <= one.items()]
        require(len(found) == 1, f"{name(monitor)} selects {len(found)} Services instead of one")
        for endpoint in monitor["spec"]["endpoints"]:
            relabelings = endpoint.get("relabelings", [])
            jobs = {rule["replacement"] for rule in relabelings if rule["targetLabel"] == "job"}
            wanted = jobs_of_rules()
            require(jobs == wanted, f"{name(monitor)} has the jobs {jobs}, and alerts {wanted}")
    check_test_pods(objects)


@functools.cache
def jobs_of_rules():
    """The jobs that the alerts of Prometheus select."""
    rules = Path(__file__).parents[2].glob("deploy/prometheus/rules/*.yml")
    return {job for file in rules for job in re.findall(r'job="([^"]*)"', file.read_text())}


def check_test_pods(objects):
    """A network policy must admit the pod of `helm test`, which is in the same namespace."""
    for pod in of_kind(objects, "Pod"):
        labels = pod["metadata"]["labels"].items()
        for policy in of_kind(objects, "NetworkPolicy"):
            peers = [
                peer["podSelector"].get("matchLabels", {}).items()
                for rule in policy["spec"]["ingress"]
                if {"port": "grpc"} in rule["ports"]
                for peer in rule["from"]
                if "podSelector" in peer and "namespaceSelector" not in peer
            ]
            admitted = any(wanted <= labels for wanted in peers)
            require(admitted, f"{name(policy)} does not admit {name(pod)}")


def check(path):
    objects = read(path)
    names = [name(item) for item in objects]
    require(len(names) == len(set(names)), f"two objects of one name among {names}")
    for item in objects:
        check_schema(item)
    claims = {
        claim["metadata"]["name"]
        for item in of_kind(objects, "StatefulSet")
        for claim in item["spec"]["volumeClaimTemplates"]
    }
    for owner, spec in pods(objects):
        check_restricted(owner, spec)
        check_volumes(owner, spec, claims if owner.startswith("StatefulSet") else set())
    check_references(objects)
    return len(objects)


def check_all():
    for path in sys.argv[1:]:
        try:
            count = check(path)
        except Failed as failed:
            raise Failed(f"{path}: {failed}") from failed
        print(f"ok      {Path(path).name}: {count} objects")


if __name__ == "__main__":
    main(check_all)
