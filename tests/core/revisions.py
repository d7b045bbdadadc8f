"""Revisions as the controllers of Kubernetes 1.36 make them, and their way through admission without doors."""

import base64
import copy
import json
from typing import Any, Final

import jsonpatch

from tests.core.world import NOON, PRIVATE, SEALER, Answer, decide
from webhook.core.admission import decode, encode, untouched
from webhook.core.decision import Decision
from webhook.core.pinning import plan_pins
from webhook.core.pins import judge
from webhook.core.revision import KINDS, Revision
from webhook.core.rules import Rule, RuleSet

HASH: Final = "5d4f8c7b9"
NAME: Final = "registry.example.com/team/app:stable"
BORN: Final = "2027-01-15T08:00:00Z"
"""NOON, as the API server writes it."""
_HASHES: Final = {"jobs": "job"}


def template(*images: str, **metadata: Any) -> dict[str, Any]:
    containers = [{"name": f"c{index}", "image": image} for index, image in enumerate(images or (NAME,))]
    return {"metadata": metadata, "spec": {"containers": containers, "imagePullSecrets": [{"name": "pull"}]}}


def _object(name: str, kind: str, owner: tuple[str, str, str], labels: dict[str, str]) -> dict[str, Any]:
    version, owner_kind, owner_name = owner
    reference = {"apiVersion": version, "kind": owner_kind, "name": owner_name, "uid": "owner-1", "controller": True}
    metadata = {"name": name, "namespace": "shop", "labels": labels, "ownerReferences": [reference]}
    return {"kind": kind, "metadata": metadata}


def replica_set(*images: str, label: str = "pod-template-hash") -> dict[str, Any]:
    owner = ("apps/v1", "Deployment", "web")
    made = _object(f"web-{HASH}", "ReplicaSet", owner, {"app": "web", label: HASH})
    made["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "1"}
    return {**made, "apiVersion": "apps/v1", "spec": {"replicas": 3, "template": template(*images)}}


def controller_revision(*images: str, owner: str = "StatefulSet", version: str = "apps/v1") -> dict[str, Any]:
    made = _object(f"db-{HASH}", "ControllerRevision", (version, owner, "db"), {"app": "db"})
    data = {"spec": {"template": {"$patch": "replace", **template(*images)}}}
    return {**made, "apiVersion": "apps/v1", "data": data, "revision": 1}


def job(*images: str, suspend: bool = False) -> dict[str, Any]:
    made = _object("nightly-29370", "Job", ("batch/v1", "CronJob", "nightly"), {})
    return {**made, "apiVersion": "batch/v1", "spec": {"suspend": suspend, "template": template(*images)}}


def stored(made: dict[str, Any]) -> dict[str, Any]:
    """As it stands at the API server."""
    again = copy.deepcopy(made)
    again["metadata"] |= {"uid": "uid-1", "creationTimestamp": BORN}
    return again


def review(resource: str, new: Any, old: Any = None, **more: Any) -> bytes:
    group = {"jobs": "batch"}.get(resource, "apps")
    request: dict[str, Any] = {
        "uid": "0b4a",
        "resource": {"group": group, "version": "v1", "resource": resource},
        "namespace": "shop",
        "operation": "CREATE" if old is None else "UPDATE",
        "object": new,
        "oldObject": old,
        **more,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


class Admitted:
    """What came of a review: the object with its patch applied, what was decided, and the answer."""

    def __init__(self, made: dict[str, Any], response: dict[str, Any], decisions: list[Decision]) -> None:
        operations = json.loads(base64.b64decode(response.get("patch", "W10=")))
        self.operations = operations
        self.made = jsonpatch.apply_patch(made, operations)
        self.decisions = decisions
        self.warnings: list[str] = response.get("warnings", [])
        self.allowed: bool = response["allowed"]

    def judged(self, resource: str) -> dict[str, str]:
        """Which digests hold on the object as it is created, under our seal."""
        metadata = self.made["metadata"]
        name = _HASHES.get(resource, HASH)
        revision = Revision(
            KINDS[resource].name,
            "shop",
            metadata["name"],
            name,
            metadata.get("uid", "uid-1"),
            NOON,
            metadata.get("annotations", {}),
        )
        return {key: one.digest for key, one in judge(revision, SEALER).images.items() if one.sealed}


def admit(
    resource: str,
    new: dict[str, Any],
    old: dict[str, Any] | None = None,
    *rules: Rule,
    at: int = NOON,
    **answers: Answer,
) -> Admitted:
    """The whole way of a revision's review."""
    read = decode(review(resource, new, old), at)
    if read.subject is None or read.rollout is None:
        return Admitted(new, json.loads(untouched(read))["response"], [])
    steps = plan_pins(read.rollout, read.subject, RuleSet(rules or (PRIVATE,)), SEALER, 7.0)
    decisions = [decide(step, **answers)[0] for step in steps]
    return Admitted(new, json.loads(encode(read, decisions, SEALER, at))["response"], decisions)
