"""The reviews that are sent, and the configuration that they meet."""

import json
from pathlib import Path
from typing import Any, Final

SIZE: Final = 7 * 1024
"""Bytes of the usual review."""
WORKLOADS: Final = 256
"""So many workloads take turns where each review is to be decided anew."""


def configuration(folder: Path, host: str, *, rules: int = 1) -> Path:
    """A configuration of so many rules, of which the last covers the host."""
    lines = ["apiVersion: moorage.dev/v1alpha1", "kind: Configuration", "registries:"]
    lines += [f"  {host}: {{plainHTTP: true, allowLoopback: true, credentials: [anonymous], maxInFlight: 128}}"]
    lines += ["resolving: {fresh: 10m, entries: 20000}", "rules:"]
    for number in range(rules - 1):
        lines += [f"  - name: other-{number}", f"    images: [registry-{number}.example.com/**]"]
        lines += ["    targets: [localhost:30081]"]
    lines += ["  - name: private", f'    images: ["{host}/**"]', "    targets: [localhost:30081]"]
    file = folder / f"moorage-{rules}.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def review(images: list[str], *, workload: str = "app", size: int = 0) -> str:
    """A Pod's creation as the API server sends it, filled up to `size` bytes with environment."""
    containers: list[dict[str, Any]] = [
        {
            "name": f"c{number}",
            "image": image,
            "imagePullPolicy": "Always",
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        }
        for number, image in enumerate(images)
    ]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{workload}-7d9c5b8f6", "uid": f"u-{workload}"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{workload}-7d9c5b8f6-",
            "namespace": "default",
            "labels": {"app": workload, "pod-template-hash": "7d9c5b8f6"},
            "annotations": {"keel.sh/update-time": "2026-01-01"},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {"serviceAccountName": "default", "containers": containers[:-1], "initContainers": containers[-1:]},
    }
    if len(containers) == 1:
        pod["spec"] = {"serviceAccountName": "default", "containers": containers}
    request = {
        "uid": "0b4a7c4e-6d1f-4e0a-9f57-9a1c1b0a7c11",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "name": "",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["a", "b"]},
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions"},
    }
    whole = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    missing = size - len(json.dumps(whole))
    each = 60
    if missing > each:
        environment = [
            {"name": f"NAME_{number}", "value": "x" * 28} for number in range(missing // each // len(images))
        ]
        for container in containers:
            container["env"] = environment
    return json.dumps(whole)


def images(host: str, count: int) -> list[str]:
    """So many images that the floor knows too."""
    return [f"{host}/team/svc-{number % 8}:t{number // 8}" for number in range(count)]


def script(folder: Path, name: str, bodies: list[str]) -> Path:
    """A script for wrk that sends these in turn."""
    bodies_file = folder / f"{name}.jsonl"
    bodies_file.write_text("\n".join(bodies) + "\n")
    file = folder / f"{name}.lua"
    file.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'local ready, at = {{}}, 0\nfor line in io.lines("{bodies_file}") do table.insert(ready, line) end\n'
        "local made = {}\n"
        "init = function() for i, body in ipairs(ready) do "
        'made[i] = wrk.format("POST", "/mutate?timeout=5s", nil, body) end end\n'
        "request = function() at = at % #made + 1; return made[at] end\n"
    )
    return file
