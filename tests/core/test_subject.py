"""Where images stand in Pods and workloads, and to whom a Pod belongs."""

from typing import Any

import msgspec
import pytest

from webhook.core.subject import (
    IMAGE_FIELDS,
    MOST_LETTERS,
    MOST_SECRETS,
    BadObject,
    Metadata,
    PodSpec,
    SecretName,
    Subject,
    audience_of,
    subjects_of,
    workload_of,
)

TEMPLATE = {
    "spec": {
        "initContainers": [{"name": "i", "image": "r.io/i"}],
        "containers": [{"name": "c", "image": "r.io/c"}],
        "volumes": [{"name": "v", "image": {"reference": "r.io/v"}}],
    }
}

# Source: the API reference of each kind (apps/v1, batch/v1, core/v1).
WORKLOADS = [
    ("v1", "PodTemplate", {"template": TEMPLATE}, "/template"),
    ("v1", "ReplicationController", {"spec": {"template": TEMPLATE}}, "/spec/template"),
    ("apps/v1", "Deployment", {"spec": {"template": TEMPLATE}}, "/spec/template"),
    ("apps/v1", "ReplicaSet", {"spec": {"template": TEMPLATE}}, "/spec/template"),
    ("apps/v1", "StatefulSet", {"spec": {"template": TEMPLATE}}, "/spec/template"),
    ("apps/v1", "DaemonSet", {"spec": {"template": TEMPLATE}}, "/spec/template"),
    ("batch/v1", "Job", {"spec": {"template": TEMPLATE}}, "/spec/template"),
    (
        "batch/v1",
        "CronJob",
        {"spec": {"jobTemplate": {"spec": {"template": TEMPLATE}}}},
        "/spec/jobTemplate/spec/template",
    ),
    ("v1", "Pod", TEMPLATE, ""),
]


def found(document: dict[str, Any], **more: Any) -> list[tuple[str, Subject]]:
    return [(at, subject) for at, _, subject in subjects_of(document, namespace="default", **more)]


@pytest.mark.parametrize(("version", "kind", "body", "at"), WORKLOADS, ids=[row[1] for row in WORKLOADS])
def test_images_of_every_workload_kind(version: str, kind: str, body: dict[str, Any], at: str) -> None:
    ((_, subject),) = found({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, **body})
    assert [(slot.pointer, slot.container, slot.text) for slot in subject.slots] == [
        (f"{at}/spec/containers/0/image", "c", "r.io/c"),
        (f"{at}/spec/initContainers/0/image", "i", "r.io/i"),
        (f"{at}/spec/volumes/0/image/reference", "v", "r.io/v"),
    ]


def test_lists_are_opened_and_pointers_start_at_each_item() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "shop"}, **TEMPLATE}
    objects = found({"apiVersion": "v1", "kind": "List", "items": [pod, {"kind": "List", "items": [pod]}, None, 7]})
    assert [(at, subject.namespace) for at, subject in objects] == [("/items/0", "shop"), ("/items/1/items/0", "shop")]
    assert objects[0][1].slots[0].pointer == "/spec/containers/0/image"


# Source: apimachinery, pkg/apis/meta/v1/unstructured/helpers.go (decodeToList).
def test_items_of_a_list_of_one_kind_need_not_name_it() -> None:
    item = {"metadata": {"name": "x"}, "spec": {"template": TEMPLATE}}
    listed = {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [item, {**item, "kind": None}]}
    assert [(at, subject.kind) for at, subject in found(listed)] == [
        ("/items/0", "Deployment"),
        ("/items/1", "Deployment"),
    ]
    assert found({"apiVersion": "v1", "kind": "List", "items": [item]}) == []


def test_templates_of_other_groups_come_from_the_configuration() -> None:
    rollout = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "x"},
        "spec": {"template": TEMPLATE},
    }
    assert found(rollout) == []
    ((_, subject),) = found(rollout, templates={"Rollout.argoproj.io": "/spec/template"})
    assert subject.slots[0].pointer == "/spec/template/spec/containers/0/image"


def test_a_kind_of_the_same_name_in_another_group_is_not_taken_for_ours() -> None:
    assert found({"apiVersion": "example.com/v1", "kind": "Deployment", "spec": {"template": TEMPLATE}}) == []


@pytest.mark.parametrize("document", [{}, {"kind": "ConfigMap", "apiVersion": "v1"}, {"kind": 7}, {"apiVersion": None}])
def test_other_kinds_have_no_subject(document: dict[str, Any]) -> None:
    assert found(document) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": "x"},
        {"containers": [7]},
        {"containers": [{"name": "a", "image": 7}]},
        {"volumes": [{"image": "x"}]},
        [],
    ],
)
def test_a_known_kind_of_a_strange_shape_is_named(spec: Any) -> None:
    with pytest.raises(BadObject, match="Pod: "):
        found({"apiVersion": "v1", "kind": "Pod", "spec": spec})


@pytest.mark.parametrize(
    ("kind", "metadata", "workload"),
    [
        ("Pod", {"name": "web"}, "web"),
        ("Pod", {"generateName": "web-"}, "web"),
        ("Deployment", {"name": "web"}, "web"),
        ("ReplicaSet", {"name": "web-7d9", "labels": {"pod-template-hash": "7d9"}}, "web"),
        ("ReplicaSet", {"name": "bare"}, "bare"),
        ("Job", {"name": "backup-29000000"}, "backup"),
        ("Job", {"name": "migrate"}, "migrate"),
        ("CronJob", {"name": "backup"}, "backup"),
        ("StatefulSet", {"name": "db"}, "db"),
        (
            "Pod",
            {
                "generateName": "web-7d9-",
                "labels": {"rollouts-pod-template-hash": "7d9"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d9", "uid": "u", "controller": True}],
            },
            "web",
        ),
        (
            "Pod",
            {
                "name": "db-0",
                "ownerReferences": [{"kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}],
            },
            "db",
        ),
        ("Pod", {"name": "x", "ownerReferences": [{"kind": "Node", "name": "n", "uid": "u"}]}, "x"),
    ],
)
def test_a_workload_has_one_name_over_all_its_rollouts(kind: str, metadata: dict[str, Any], workload: str) -> None:
    assert workload_of(kind, msgspec.convert(metadata, Metadata)) == workload


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("h_o.io/x", "'h_o.io' is no registry host"),
        ("r.io/täg", "only ASCII characters may stand in an image name"),
        ("r.io:99999/x", "r.io:99999 has a port that does not exist"),
        ("r.io:0/x", "r.io:0 has a port that does not exist"),
        ("[::1]:65536/x", "[::1]:65536 has a port that does not exist"),
    ],
    ids=["a host that containerd would guess", "letters", "port", "port 0", "port of an address"],
)
def test_a_name_that_nobody_can_pull_is_no_image_and_says_why(image: str, problem: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": image}]}}
    ((_, subject),) = found(pod)
    (slot,) = subject.slots
    assert (slot.text, slot.image, slot.problem) == (image, None, problem)


def test_the_table_of_places_and_the_decoded_shape_agree() -> None:
    lists = {field.encode_name for field in msgspec.structs.fields(PodSpec)} - {
        "imagePullSecrets",
        "serviceAccountName",
    }
    assert lists == {field for field, _ in IMAGE_FIELDS}


def test_of_an_authors_names_of_secrets_no_more_are_kept_than_show_that_there_were_more() -> None:
    secrets = tuple(SecretName("x" * 10_000) for _ in range(10_000))
    audience = audience_of(PodSpec(image_pull_secrets=secrets), "shop")
    assert [len(name) for name in audience.secrets] == [MOST_LETTERS] * (MOST_SECRETS + 1)
