"""Live objects in the command line: how they are named, shown and refused. What is true of real ones is tested on a real
control plane (tests/cluster/test_live.py)."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonpatch
import pytest
import yaml

from tests.cli.conftest import Shell
from tests.core.revisions import HASH, template
from tests.core.world import NOON, SEALER, pod, subject
from tests.support.api import FakeApi
from tests.support.apiserver import api_server
from tests.support.aside import aside
from tests.support.faults import with_status
from tests.support.living import owner, put, put_deployment
from tests.support.registry import FakeRegistry, fake_registry, image_document
from tests.support.secrets import login, put_account, put_secret
from webhook.core.annotation import Entry
from webhook.core.annotation import written as images_written
from webhook.core.pins import written
from webhook.core.revision import Revision
from webhook.kube import Answer

KEY = "k" * 32
REFUSAL = 'admission webhook "pods.moorage.dev" denied the request: c0: {image} refused (Unavailable): no answer'

ENDING = 'pods "p-" is forbidden: unable to create new content in namespace shop because it is being terminated'


class World:
    """A cluster, a registry and a person with a shell; the tag of `image` has moved since its rollout began."""

    def __init__(self, shell: Shell, registry: FakeRegistry, api: FakeApi) -> None:
        self.shell = shell
        self.registry = registry
        self.api = api
        self.image = f"{registry.host}/team/app:stable"
        self.old = registry.push()
        self.new = registry.push(document=image_document('{"moved": true}'))
        registry.asked.clear()

    def configuration(self, target: str = "localhost:30081/{path}", rule: str = "") -> str:
        return (
            "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\n"
            f'registries: {{"{self.registry.host}": {{plainHTTP: true, allowLoopback: true}}}}\n'
            f'targets: {{kraken: {{image: "{target}", pull: anonymous}}}}\n'
            f'rules: [{{name: mine, images: ["{self.registry.host}/**"], targets: [kraken]{rule}}}]\n'
            "templates: {Rollout.argoproj.io: /spec/template}\n"
        )

    def deployment(self, name: str = "web", namespace: str = "shop", *, pinned: bool = True) -> None:
        revision = Revision("ReplicaSet", namespace, f"{name}-{HASH}", HASH, f"uid-{name}-{HASH}", NOON)
        pin = dict([written({self.image: self.old}, revision, SEALER, NOON)]) if pinned else {}
        put_deployment(self.api, name, self.image, namespace=namespace, annotations=pin)

    def type(self, *words: str) -> int:
        return self.shell.type(*words)

    def placed(self, digest: str) -> str:
        return f"localhost:30081/team/app@{digest}"

    @property
    def asked(self) -> list[str]:
        """What was asked of the registry: tags and digests."""
        return [one.path.rpartition("/")[2] for one in self.registry.of("manifest")]

    @property
    def result(self) -> Any:
        return json.loads(self.shell.out)


@pytest.fixture
def world(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    api = FakeApi()
    with ExitStack() as running:
        registry = running.enter_context(aside(fake_registry()))
        kubeconfig = running.enter_context(api_server(api, shell.folder))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        made = World(shell, registry, api)
        shell.write("moorage.yaml", made.configuration())
        shell.write("seal.key", KEY)
        yield made


def test_a_live_object_has_a_name_and_a_namespace_and_no_line(world: World) -> None:
    world.deployment()
    assert world.type("check", "deploy/web", "-o", "json") == 0
    (one,) = world.result["objects"]
    images = one.pop("images")
    assert one == {
        "source": "deployment/web",
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "shop",
        "name": "web",
        "allowed": True,
        "warnings": [],
    }
    assert {key: images[0][key] for key in ("pointer", "line", "from", "to", "source")} == {
        "pointer": "/spec/template/spec/containers/0/image",
        "line": 0,
        "from": world.image,
        "to": world.placed(world.old),
        "source": "pin",
    }


def test_without_the_seal_key_a_pin_is_a_hint_and_that_is_said_once(world: World) -> None:
    world.deployment()
    world.deployment("other")
    assert world.type("check", "-n", "shop") == 0
    assert world.asked == [world.old]
    assert world.shell.err.count("--seal-key-file") == 1
    assert world.shell.err.splitlines()[0] == "not known here: health of targets"


def test_with_the_seal_key_a_pin_holds_and_no_registry_is_asked(world: World) -> None:
    world.deployment()
    assert world.type("check", "-n", "shop", "--seal-key-file", "seal.key", "-o", "json") == 0
    assert world.result["objects"][0]["images"][0]["source"] == "pin"
    assert world.asked == []
    assert "--seal-key-file" not in world.shell.err


def test_a_new_rollout_gets_what_the_tag_names(world: World) -> None:
    world.deployment(pinned=False)
    assert world.type("check", "deployment", "web", "-o", "json") == 0
    (image,) = world.result["objects"][0]["images"]
    assert (image["to"], image["source"]) == (world.placed(world.new), "fresh")


def test_offline_pins_are_shown_and_no_registry_is_asked(world: World) -> None:
    world.deployment()
    world.deployment("new", pinned=False)
    assert world.type("check", "deploy", "--offline", "-o", "json") == 0
    new, web = (one["images"][0] for one in world.result["objects"])
    assert (web["to"], web["source"]) == (world.placed(world.old), "pin")
    assert (new["to"], new["reason"]) == (None, "Offline")
    assert world.asked == []


def test_all_namespaces_have_a_column_of_their_own(world: World) -> None:
    world.deployment()
    world.deployment("api", "back")
    assert world.type("check", "-A") == 0
    rows = [line.split() for line in world.shell.out.splitlines()]
    assert rows[0][:2] == ["NAMESPACE", "OBJECT"]
    assert [row[:2] for row in rows[1:]] == [["back", "Deployment/api"], ["shop", "Deployment/web"]]


def test_the_namespace_is_that_of_the_context_unless_said(world: World) -> None:
    world.deployment("here", "shop")
    world.deployment("there", "elsewhere")
    for words, expected in (((), "here"), (("--context", "other"), "there"), (("-n", "elsewhere"), "there")):
        assert world.type("check", "deploy", "-o", "json", *words) == 0
        assert [one["name"] for one in world.result["objects"]] == [expected]


def test_a_namespace_beside_files_is_that_of_what_names_none(world: World) -> None:
    world.shell.write("pod.json", json.dumps(pod("nginx")))
    assert world.type("check", "pod.json", "-n", "apart", "-o", "json") == 0
    assert [one["namespace"] for one in world.result["objects"]] == ["apart"]
    assert world.api.asked == []


def test_labels_select(world: World) -> None:
    for name in ("web", "api"):
        put(world.api, "Pod", name, spec=pod("nginx")["spec"], metadata={"labels": {"app": name}})
    assert world.type("check", "-l", "app=api", "-o", "json") == 0
    assert [one["source"] for one in world.result["objects"]] == ["pod/api"]


def test_a_file_that_is_there_goes_before_a_kind_of_its_name(world: World) -> None:
    world.shell.write("deploy/web", json.dumps(pod("nginx")))
    assert world.type("check", "deploy/web", "-o", "json") == 0
    assert [one["source"] for one in world.result["objects"]] == ["deploy/web:1"]


USAGE = [
    (["check", "deploy/web", "-A"], "moorage: a resource cannot be retrieved by name across all namespaces"),
    (["check", "deploy", "web", "-l", "a=b"], "moorage: name cannot be provided when a selector is specified"),
    (["check", "deploy/web", "other"], "moorage: write KIND/NAME for each, or KIND once and names after it"),
    (["check", "-A", "nosuch"], 'moorage: the server doesn\'t have a resource type "nosuch"'),
    (["check", "-f", "moorage.yaml", "-A"], "moorage: files and live objects are two things: check them in two calls"),
    (["check", "moorage.yaml", "-l", "a=b"], "moorage: files and live objects are two things: check them in two calls"),
    (["check", "-", "-A"], "moorage: files and live objects are two things: check them in two calls"),
    (["check", "-n", "shop", "--server", "--offline"], "moorage: --server asks the cluster"),
    (["check", "-A", "--kubeconfig", "nosuch"], "moorage: nosuch leads to no cluster"),
    (["check", "-A", "--context", "nosuch"], "moorage: {kubeconfig} leads to no cluster: Invalid kube-config file"),
    (["check", "-A", "--seal-key-file", "nosuch"], "moorage: --seal-key-file nosuch: No such file or directory"),
    (
        ["check", "-A", "--seal-key-file", "short.key"],
        "moorage: --seal-key-file short.key: a seal key needs at least 32",
    ),
    (["check", "-A", "--seal-key-file", "bytes.key"], "moorage: --seal-key-file bytes.key: it holds no text"),
    (
        ["adopt", "--seal-key-file", "short.key"],
        "moorage: --seal-key-file short.key: a seal key needs at least 32 bytes",
    ),
    (["check", "-A", "--config", "moorage.yaml", "--from-cluster"], "moorage: --config and --from-cluster are two"),
    (["check", "-A", "--from-cluster"], "moorage: Moorage is not installed there: no configmap moorage"),
    (["check"], "moorage: name files, folders or live objects (KIND/NAME)"),
    (["explain", "x", "--owner", "nosuch/x"], "moorage: --owner nosuch/x: the server doesn't have a resource type"),
    (["explain", "x", "--owner", "deploy"], "moorage: --owner deploy: write it as KIND/NAME"),
    (["explain", "x", "--owner", "po/x"], "moorage: --owner po/x: a Pod owns none"),
    (["explain", "x", "--owner", "deploy/x"], 'moorage: deployment/x in shop: deployments.apps "x" not found'),
]


@pytest.mark.parametrize(("words", "said"), USAGE, ids=[" ".join(row[0]) for row in USAGE])
def test_what_makes_no_sense_is_refused_with_a_reason(world: World, words: list[str], said: str) -> None:
    world.deployment()
    world.shell.write("short.key", "short")
    (world.shell.folder / "bytes.key").write_bytes(b"\xff" * 32)
    assert world.type(*words) == 2
    assert world.shell.err.startswith(said.format(kubeconfig=world.shell.folder / "kubeconfig"))
    assert world.shell.out == ""


@pytest.mark.parametrize("words", [["deployment/web"], ["-A"], ["-n", "shop"], ["--server", "-f", "moorage.yaml"]])
def test_where_there_is_no_cluster_that_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "nosuch")
    assert world.type("check", *words) == 2
    assert world.shell.err.startswith("moorage: there is no cluster to ask: give --kubeconfig")


def test_a_kubeconfig_goes_before_the_cluster_of_this_pod(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As client-go has it; without one the service account is asked for."""
    world.deployment()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    assert world.type("check", "deploy/web") == 0
    monkeypatch.delenv("KUBECONFIG")
    assert world.type("check", "deploy/web") == 2
    assert "serviceaccount holds no token" in world.shell.err


@pytest.mark.parametrize(
    "words",
    [["check", "deploy/web"], ["check", "same.json", "--from-cluster"], ["explain", "x", "--owner", "deploy/web"]],
    ids=["by name", "a manifest's twin", "an owner"],
)
def test_an_api_server_that_hangs_is_waited_for_as_long_as_was_asked(world: World, words: list[str]) -> None:
    """The stand-in gives up after 5 s: then it would be a connection that broke."""
    world.deployment()
    installed(world, (world.shell.folder / "moorage.yaml").read_text())
    place = "/apis/apps/v1/namespaces/shop/deployments/web"
    world.shell.write("same.json", json.dumps(world.api.objects[place]))
    world.api.hanging = {place}
    assert world.type(*words, "--timeout", "200ms") == 3
    assert "deployment/web in shop: the API server did not answer in time" in world.shell.err


def test_what_is_not_found_is_named_and_the_rest_is_done(world: World) -> None:
    world.deployment()
    assert world.type("check", "deploy", "nosuch", "web", "-o", "json") == 2
    assert 'deployment/nosuch in shop: deployments.apps "nosuch" not found' in world.shell.err.splitlines()
    assert [one["name"] for one in world.result["objects"]] == ["web"]
    (error,) = world.result["errors"]
    assert error == {
        "source": "deployment/nosuch in shop",
        "line": 0,
        "column": 0,
        "message": 'deployments.apps "nosuch" not found',
    }


def test_nothing_found_is_said_as_kubectl_says_it_and_is_no_error(world: World) -> None:
    assert world.type("check", "-n", "empty") == 0
    assert world.shell.err.splitlines()[0] == "No resources found in empty namespace."
    assert world.type("check", "-A", "-o", "json") == 0
    assert world.shell.err.splitlines()[0] == "No resources found."
    assert world.result["objects"] == []


def test_what_is_forbidden_ends_with_3_and_the_api_servers_reason(world: World) -> None:
    world.deployment()
    world.api.forbidden.add("cronjobs.batch")
    assert world.type("check", "-n", "shop", "-o", "json") == 3
    assert 'cronjobs.batch is forbidden: User "reader" cannot read' in world.shell.err
    assert [one["name"] for one in world.result["objects"]] == ["web"]


def test_an_api_server_that_does_not_answer_ends_with_3(world: World) -> None:
    world.api.trouble = Answer(0)
    assert world.type("check", "deploy/web") == 3
    assert "deployment/web in shop: the connection to the API server broke" in world.shell.err


def test_siblings_that_cannot_be_seen_are_told_and_what_is_shown_instead_is_not_believed(world: World) -> None:
    """The webhook may see them: what this user would get from the registry is not what it decides."""
    put(world.api, "ReplicationController", "old", spec={"template": template(world.image)})
    world.api.forbidden.add("pods")
    assert world.type("check", "rc/old", "-o", "json") == 3
    (image,) = world.result["objects"][0]["images"]
    assert image["source"] == "fresh"
    assert "replicationcontroller/old in shop: ReplicationController old could not be read" in world.shell.err


def test_yaml_is_the_object_as_kubectl_shows_it_with_other_images(world: World) -> None:
    world.deployment()
    assert world.type("check", "deploy/web", "-o", "yaml") == 0
    live = world.api.objects["/apis/apps/v1/namespaces/shop/deployments/web"]
    expected = json.loads(json.dumps(live).replace(world.image, world.placed(world.old)))
    del expected["status"], expected["metadata"]["managedFields"]
    assert yaml.safe_load(world.shell.out) == expected
    assert list(yaml.safe_load(world.shell.out)) == ["apiVersion", "kind", "metadata", "spec"]


def test_several_objects_are_a_stream_that_kubectl_apply_takes(world: World) -> None:
    world.deployment()
    world.deployment("api")
    assert world.type("check", "deploy", "-o", "yaml") == 0
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(world.shell.out)] == ["api", "web"]


def test_a_diff_names_the_object_and_ends_with_1(world: World) -> None:
    world.deployment()
    assert world.type("check", "deploy/web", "-o", "diff") == 1
    lines = world.shell.out.splitlines()
    assert lines[:2] == ["--- a/shop/deployment/web", "+++ b/shop/deployment/web"]
    changed = [line.replace(" ", "") for line in lines[2:] if line.startswith(("-", "+"))]
    assert changed == [f"--image:{world.image}", f"+-image:{world.placed(world.old)}"]


def test_a_patch_applies_to_the_live_object(world: World) -> None:
    world.deployment()
    assert world.type("check", "deploy/web", "-o", "patch") == 0
    (one,) = world.result
    patch = one.pop("patch")
    assert one == {"source": "deployment/web", "kind": "Deployment", "namespace": "shop", "name": "web"}
    live = world.api.objects["/apis/apps/v1/namespaces/shop/deployments/web"]
    patched = jsonpatch.apply_patch(live, patch)
    assert patched["spec"]["template"]["spec"]["containers"][0]["image"] == world.placed(world.old)


def troubled(world: World) -> None:
    """An image that is not there, and an object that is not there."""
    world.api.objects.clear()
    put(world.api, "Pod", "x", spec=pod(f"{world.registry.host}/team/app:nosuch")["spec"])
    world.api.forbidden.add("jobs.batch")


def test_junit_names_the_namespace_and_no_file(world: World) -> None:
    troubled(world)
    assert world.type("check", "-n", "shop", "-o", "junit") == 3
    suites = list(ET.fromstring(world.shell.out))
    assert [one.get("name") for one in suites] == ["shop: Pod/x", "jobs.batch in shop"]
    for case in ET.fromstring(world.shell.out).iter("testcase"):
        assert case.find("error") is not None
        assert not {"file", "line"} & set(case.keys())


def test_sarif_has_a_logical_place_where_there_is_no_file(world: World) -> None:
    troubled(world)
    assert world.type("check", "-n", "shop", "-o", "sarif") == 3
    (program,) = world.result["runs"]
    assert [one["locations"] for one in program["results"]] == [
        [{"logicalLocations": [{"fullyQualifiedName": name, "kind": "object"}]}]
        for name in ("pod/x in shop", "jobs.batch in shop")
    ]


def test_annotations_of_a_forge_say_the_object_in_their_text(world: World) -> None:
    troubled(world)
    assert world.type("check", "-n", "shop", "-o", "github") == 3
    first, second = world.shell.out.splitlines()
    assert first.startswith(f"::warning title=AbsentOrDenied::pod/x in shop: {world.registry.host}")
    assert second.startswith("::error title=Unreadable::jobs.batch in shop: jobs.batch is forbidden")


def installed(world: World, file: str, **variables: str) -> None:
    namespace = "moorage-system"
    world.api.objects[f"/api/v1/namespaces/{namespace}/configmaps/moorage"] = {"data": {"moorage.yaml": file}}
    env = [{"name": f"MOORAGE_VAR_{name}", "value": value} for name, value in variables.items()]
    spec = {"template": {"spec": {"containers": [{"name": "moorage", "env": env}]}}}
    world.api.objects[f"/apis/apps/v1/namespaces/{namespace}/deployments/moorage"] = {"metadata": {}, "spec": spec}


def test_the_installed_configuration_decides_with_its_variables(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deployment()
    installed(world, world.configuration("{region}.example.net/{path}"), REGION="eu")
    monkeypatch.setenv("MOORAGE_VAR_REGION", "of-this-laptop")
    words = ["check", "deploy/web", "--from-cluster", "-o", "json"]
    assert world.type(*words, "-v") == 0
    assert world.result["objects"][0]["images"][0]["to"] == f"eu.example.net/team/app@{world.old}"
    assert "configuration: configmap moorage in moorage-system" in world.shell.err
    assert world.type(*words, "--set", "region=us") == 0
    assert world.result["objects"][0]["images"][0]["to"].startswith("us.example.net/")


def test_a_mistake_in_the_installed_configuration_is_told_with_its_place(world: World) -> None:
    installed(world, world.configuration(rule=", target: x"))
    assert world.type("check", "-A", "--from-cluster") == 2
    assert world.shell.err.startswith("configmap moorage in moorage-system: moorage.yaml:5:")
    assert "/tmp" not in world.shell.err.replace(str(world.shell.folder), "")


def test_a_manifest_that_changes_nothing_goes_on_as_its_rollout_did(world: World) -> None:
    world.deployment()
    installed(world, world.configuration())
    live = world.api.objects["/apis/apps/v1/namespaces/shop/deployments/web"]
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": live["spec"]}
    world.shell.write("same.json", json.dumps(manifest))
    changed = json.loads(json.dumps(manifest))
    changed["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "b"}]
    world.shell.write("changed.json", json.dumps(changed))
    assert world.type("check", "same.json", "changed.json", "--from-cluster", "-o", "json") == 0
    assert [(one["source"], one["images"][0]["to"]) for one in world.result["objects"]] == [
        ("same.json:1", world.placed(world.old)),
        ("changed.json:1", world.placed(world.new)),
    ]


def admits(world: World, status: int, message: str = "", *warnings: str, image: str = "") -> list[dict[str, Any]]:
    """What the cluster answers from now on; gives what it was sent."""
    sent: list[dict[str, Any]] = []

    def answer(made: dict[str, Any]) -> Answer:
        sent.append(made)
        if message:
            return Answer(status, json.dumps({"kind": "Status", "message": message}).encode(), warnings=warnings)
        text = json.dumps(made).replace(world.image, image or world.image)
        return Answer(status, text.encode(), warnings=warnings)

    world.api.admit = answer
    return sent


def test_the_clusters_own_answer_is_shown_with_its_warnings(world: World) -> None:
    world.deployment()
    sent = admits(world, 201, "", "would violate PodSecurity", image="mirror.example.com/app:1")
    assert world.type("check", "deploy/web", "--server", "-o", "json") == 0
    (one,) = world.result["objects"]
    assert one["warnings"] == ["would violate PodSecurity"]
    (image,) = one["images"]
    assert (image["to"], image["action"], image["reason"]) == ("mirror.example.com/app:1", "rewritten", "DryRun")
    assert "deployment/web in shop: would violate PodSecurity" in world.shell.err.splitlines()
    (made,) = sent
    reference = made["metadata"]["ownerReferences"][0]
    assert (reference["kind"], reference["uid"]) == ("ReplicaSet", f"uid-web-{HASH}")
    assert made["metadata"]["labels"]["pod-template-hash"] == HASH
    assert world.asked == []


def test_a_manifest_that_changes_nothing_is_sent_as_a_pod_of_its_rollout(world: World) -> None:
    world.deployment()
    installed(world, world.configuration())
    live = world.api.objects["/apis/apps/v1/namespaces/shop/deployments/web"]
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": live["spec"]}
    world.shell.write("same.json", json.dumps(manifest))
    sent = admits(world, 201)
    assert world.type("check", "same.json", "--from-cluster", "--server") == 0
    assert [one["metadata"]["ownerReferences"][0]["name"] for one in sent] == [f"web-{HASH}"]
    assert world.type("check", "same.json", "--server") == 0
    assert "ownerReferences" not in sent[1]["metadata"]


def test_a_pod_goes_where_its_pull_secrets_log_in_and_no_other_does(world: World) -> None:
    mirror = 'targets: {kraken: {image: "mirror.example.com/{path}", pull: secret}}'
    usual = 'targets: {kraken: {image: "localhost:30081/{path}", pull: anonymous}}'
    world.shell.write("moorage.yaml", world.configuration().replace(usual, mirror))
    world.deployment(pinned=False)
    put_account(world.api, "pull")
    put_secret(world.api, "pull", {world.registry.host: login("upstream")})
    assert world.type("check", "deploy/web", "-o", "json") == 0
    (image,) = world.result["objects"][0]["images"]
    assert (image["action"], image["reason"]) == ("pinned", "NoPullSecret")
    assert image["to"] == f"{world.registry.host}/team/app@{world.new}"
    put_secret(world.api, "pull", {"mirror.example.com": login("mirror")})
    assert world.type("check", "deploy/web", "-o", "json") == 0
    (image,) = world.result["objects"][0]["images"]
    assert (image["action"], image["to"]) == ("rewritten", f"mirror.example.com/team/app@{world.new}")


def test_the_cluster_is_asked_without_any_configuration(world: World) -> None:
    (world.shell.folder / "moorage.yaml").unlink()
    world.shell.write("pod.json", json.dumps(pod(world.image)))
    assert world.type("check", "pod.json", "--server", "-o", "json") == 0
    (image,) = world.result["objects"][0]["images"]
    assert (image["action"], image["reason"]) == ("unchanged", "DryRun")
    assert "not known here" not in world.shell.err


ANSWERS = [
    ("refused by Moorage", 403, REFUSAL, 4, ["refused"], "Unavailable"),
    ("refused by others", 403, 'pods "p-" is forbidden: violates PodSecurity', 4, ["refused"], "DryRun"),
    ("no rights", 403, 'pods is forbidden: User "x" cannot create resource "pods"', 3, [], ""),
    ("no namespace", 404, 'namespaces "shop" not found', 2, [], ""),
    ("a namespace that is being deleted", 403, ENDING, 2, [], ""),
    ("a webhook that is down", 500, 'Internal error occurred: failed calling webhook "x"', 3, [], ""),
]


@pytest.mark.parametrize(
    ("status", "message", "code", "actions", "reason"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_what_the_cluster_refuses_is_told_apart(
    world: World, status: int, message: str, code: int, actions: list[str], reason: str
) -> None:
    world.shell.write("pod.json", json.dumps(pod(world.image)))
    said = message.format(image=world.image)
    admits(world, status, said)
    assert world.type("check", "pod.json", "--server", "-o", "json") == code
    images = [image for one in world.result["objects"] for image in one["images"]]
    assert [image["action"] for image in images] == actions
    assert all(image["reason"] == reason for image in images)
    assert said in world.shell.err


def test_a_review_of_a_change_is_not_sent_as_a_new_pod(world: World) -> None:
    made = pod("localhost:30081/team/app:1")
    request = {
        "uid": "u", "resource": {"resource": "pods", "version": "v1"}, "operation": "UPDATE", "namespace": "shop",
        "object": made, "oldObject": pod("x"),
    }  # fmt: skip
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    world.shell.write("review.json", json.dumps(review))
    assert world.type("check", "review.json", "--server") == 2
    assert "a change of a Pod cannot be sent again as a Pod" in world.shell.err


def test_explain_tells_how_an_image_stands_in_a_rollout(world: World) -> None:
    world.deployment()
    words = ["explain", world.image, "--owner", "deploy/web", "--seal-key-file", "seal.key"]
    assert world.type(*words, "-o", "json") == 0
    told = world.result
    assert (told["source"], told["to"]) == ("pin", world.placed(world.old))
    assert told["rollout"] == {
        "object": "deployment/web",
        "namespace": "shop",
        "revision": {"kind": "ReplicaSet", "name": f"web-{HASH}", "number": 1, "created": "2027-01-15T08:00:00Z"},
        "pin": {"digest": world.old, "since": "2027-01-15T08:00:00Z", "sealed": True},
        "ignored": [],
        "siblings": [],
        "unknown": None,
        "now": world.new,
        "undo": None,
    }
    assert world.type(*words) == 0
    assert f"pin:        {world.old}, since 2027-01-15T08:00:00Z, sealed" in world.shell.out.splitlines()
    assert f"tag now:    {world.new}" in world.shell.out.splitlines()


def test_explain_without_the_key_does_not_judge_the_seal(world: World) -> None:
    world.deployment()
    assert world.type("explain", world.image, "--owner", "deploy/web") == 0
    assert "seal not checked" in world.shell.out
    assert world.shell.err.count("--seal-key-file") == 1


def test_explain_takes_the_container_of_the_workload(world: World) -> None:
    """A rule may ask for its name."""
    world.deployment()
    rule = ', containers: ["c0"]'
    world.shell.write("moorage.yaml", world.configuration(rule=rule))
    assert world.type("explain", world.image, "--owner", "deploy/web", "-o", "json") == 0
    assert world.result["rule"] == "mine"
    assert world.type("explain", world.image, "--owner", "deploy/web", "-c", "other", "-o", "json") == 0
    assert world.result["rule"] is None


def test_explain_of_a_new_rollout_says_so(world: World) -> None:
    put(world.api, "CronJob", "nightly", spec={"jobTemplate": {"spec": {"template": template(world.image)}}})
    assert world.type("explain", world.image, "--owner", "cj/nightly") == 0
    assert "revision:   none yet: the next Pods are of a new rollout" in world.shell.out.splitlines()
    assert "pin:        none that holds" in world.shell.out.splitlines()


def test_siblings_that_explain_may_not_see_are_named(world: World) -> None:
    world.deployment()
    world.api.forbidden.add("pods")
    assert world.type("explain", world.image, "--owner", "deploy/web", "-o", "json") == 0
    assert world.result["rollout"]["unknown"].startswith("siblings: ")


def test_pods_of_system_namespaces_are_shown_as_left_alone(world: World) -> None:
    put(world.api, "Pod", "x", "kube-system", spec=pod(world.image)["spec"])
    assert world.type("check", "-n", "kube-system", "-o", "json") == 0
    (image,) = world.result["objects"][0]["images"]
    assert (image["action"], image["reason"]) == ("unchanged", "NotServed")
    assert world.asked == []


def test_what_moorage_wrote_on_a_pod_a_moment_ago_is_believed_with_the_key(world: World) -> None:
    made = pod(world.placed(world.old))
    entry = Entry(world.image, world.old, "kraken", "mine", "fresh")
    now = time.time_ns() // 1_000_000
    text = images_written({"containers/c0": entry}, subject(made, "shop"), SEALER, now)
    put(world.api, "Pod", "x", spec=made["spec"], metadata={"annotations": {"moorage.dev/images": text}})
    assert world.type("check", "po/x", "--seal-key-file", "seal.key", "-o", "json", "--exit-code") == 0
    (image,) = world.result["objects"][0]["images"]
    assert (image["from"], image["to"]) == (world.image, world.placed(world.old))
    assert world.asked == []
    assert world.type("check", "po/x", "-o", "json", "--exit-code") == 1
    assert world.result["objects"][0]["images"][0]["to"] == world.placed(world.new)


def labelled(world: World, **labels: str) -> None:
    world.api.objects["/api/v1/namespaces/shop"] = {"metadata": {"name": "shop", "labels": labels}}


def test_a_namespace_that_wants_to_be_left_alone_is(world: World) -> None:
    world.deployment()
    labelled(world, **{"moorage.dev/skip": "true"})
    assert world.type("check", "deploy/web", "-o", "json") == 0
    assert world.result["objects"][0]["images"][0]["reason"] == "OptedOut"


def test_rules_may_ask_for_labels_of_the_live_namespace(world: World) -> None:
    world.deployment()
    labelled(world, team="shop")
    world.shell.write("moorage.yaml", world.configuration(rule=", namespaceSelector: {matchLabels: {team: shop}}"))
    assert world.type("check", "deploy/web", "-o", "json") == 0
    assert world.result["objects"][0]["images"][0]["rule"] == "mine"
    assert world.type("explain", world.image, "--owner", "deploy/web", "-o", "json") == 0
    assert (world.result["rules"], world.result["rollout"]["now"]) == (["rule mine matches"], world.new)
    labelled(world, team="other")
    assert world.type("explain", world.image, "--owner", "deploy/web", "-o", "json") == 0
    assert world.result["rules"][0] == "rule mine passed over: namespaceSelector does not match"


def test_a_namespace_that_cannot_be_read_is_told_and_ends_with_3(world: World) -> None:
    world.deployment()
    world.api.forbidden.add("namespaces")
    assert world.type("check", "deploy/web") == 3
    said = "deployment/web in shop: Namespace shop could not be read: this account may not read it"
    assert said in world.shell.err.splitlines()


def test_adopt_tells_why_a_rollout_is_not_pinned(world: World) -> None:
    world.deployment(pinned=False)
    assert world.type("adopt") == 0
    said = (
        f"shop/web-{HASH}: {world.image} unknown: none of 0 Pods shows what the tag named for them, or runs {world.new}"
    )
    assert any(line.startswith(said) for line in world.shell.err.splitlines())


@pytest.mark.parametrize("is_pinned", [True, False])
def test_adopt_ends_with_3_where_a_registry_was_not_to_be_asked(world: World, *, is_pinned: bool) -> None:
    world.deployment(pinned=is_pinned)
    world.registry.faults["manifest"] = with_status(503)
    assert world.type("adopt", "--seal-key-file", "seal.key", "-o", "json") == 3
    (one,) = world.result["items"][0]["images"]
    assert one["verdict"] == ("kept" if is_pinned else "unknown")
    assert f"shop/web-{HASH}: {world.image} {one['verdict']}: digest resolution at " in world.shell.err


def test_a_pod_of_a_rollout_is_decided_as_one(world: World) -> None:
    world.deployment()
    by = {"ownerReferences": [owner("ReplicaSet", f"web-{HASH}")], "labels": {"pod-template-hash": HASH}}
    put(world.api, "Pod", "web-x", spec=pod(world.image)["spec"], metadata=by)
    assert world.type("check", "po/web-x", "-o", "json") == 0
    assert world.result["objects"][0]["images"][0]["source"] == "pin"


@pytest.mark.parametrize("words", [["check", "-f", "pod.json"], ["explain", "nginx"], ["check", "--help"]])
def test_where_no_cluster_is_asked_nothing_of_it_is_loaded(shell: Shell, words: list[str]) -> None:
    shell.write("pod.json", json.dumps(pod("nginx")))
    program = (
        f"import sys\nfrom webhook.cli.main import run\nrun({words!r})\n"
        "found = {'kubernetes', 'webhook.kube', 'webhook.live', 'webhook.installed'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_token_of_the_kubeconfig_is_never_shown(world: World) -> None:
    world.deployment()
    world.type("check", "-A", "-v")
    assert "canary" not in world.shell.out + world.shell.err
    assert Path("kubeconfig").is_file()
