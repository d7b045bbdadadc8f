"""The command line and a live cluster: what `check` says of live objects is what the webhook does with their next Pods."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cluster.account import Account
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.evidence import Evidence
from tests.cluster.namespace import Namespace
from tests.cluster.real.plane import Running
from tests.cluster.test_pins_deployment import pins_of, replica_sets
from tests.cluster.upstream import Upstream
from tests.cluster.webhook import SEAL_KEY
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import cron_job, daemon_set, deployment, job, pod, replica_set, stateful_set
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]
MOORAGE = Path(sys.executable).with_name("moorage")


class Said(msgspec.Struct):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        return json.loads(self.out)

    @property
    def images(self) -> dict[str, dict[str, Any]]:
        """The first image of each object, by object."""
        return {one["source"]: one["images"][0] for one in self.result["objects"]}


class Laptop:
    """A person with a kubeconfig, a configuration and a shell."""

    def __init__(self, namespace: Namespace, folder: Path, image: str) -> None:
        self.namespace = namespace
        self.folder = folder
        self.kubeconfig = namespace.kubeconfig
        self.image = image
        self.said: list[str] = []

    def type(self, *words: str) -> Said:
        environ = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}
        done = subprocess.run(
            [MOORAGE, *words], cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        self.said.append(f"$ moorage {' '.join(words)}\n{done.stdout}{done.stderr}ended with {done.returncode}")
        return Said(done.returncode, done.stdout, done.stderr)

    def check(self, *words: str) -> Said:
        # A machine that many share may be slow; the usual 4 s are for people.
        return self.type("check", "-n", self.namespace.name, "-o", "json", "--timeout", "20s", *words)


@pytest.fixture
def laptop(namespace: Namespace, upstream: Upstream, tmp_path: Path, evidence: Evidence) -> Laptop:
    folder = tmp_path / "laptop"
    folder.mkdir()
    (folder / "moorage.yaml").write_text(configuration(upstream.host))
    (folder / "seal.key").write_text(f"{SEAL_KEY}\n")
    made = Laptop(namespace, folder, upstream.image("team/app", "stable"))
    evidence.add("moorage on the laptop", lambda: "\n".join(made.said))
    return made


@pytest.fixture
def image(upstream: Upstream) -> str:
    return upstream.image("team/app", "stable")


@pytest.fixture
def moved(namespace: Namespace, upstream: Upstream, webhooks: Start, image: str) -> tuple[str, str]:
    """A Deployment that is rolled out, and a tag that has moved since: the digests before and after."""
    before = upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host, resolving={"pins": "1s", "fresh": "1s"}))
    namespace.create(deployment("app", image, replicas=2))
    namespace.await_rollout("Deployment", "app")
    return before, upstream.push("team/app", "stable")


def placed(digest: str) -> str:
    return f"{CACHE}/team/app@{digest}"


def told(found: dict[str, Any]) -> tuple[str, str]:
    return found["to"], found["source"]


def test_the_pin_of_a_deployment_holds_though_its_tag_moved(
    laptop: Laptop, upstream: Upstream, moved: tuple[str, str], image: str
) -> None:
    before, _ = moved
    upstream.forget()
    said = laptop.check("deploy/app", "--seal-key-file", "seal.key")
    (one,) = said.result["objects"]
    assert (said.code, one["source"], one["namespace"]) == (0, "deployment/app", laptop.namespace.name)
    (found,) = one["images"]
    assert (found["from"], *told(found)) == (image, placed(before), "pin")
    assert upstream.requests() == []
    assert "hint" not in said.err


def test_without_the_seal_key_the_pin_is_a_hint_which_the_registry_confirms(
    laptop: Laptop, upstream: Upstream, moved: tuple[str, str]
) -> None:
    before, _ = moved
    upstream.forget()
    said = laptop.check("deployment", "app")
    assert told(said.images["deployment/app"]) == (placed(before), "pin")
    assert [one.target.rpartition("/")[2] for one in upstream.requests()] == [before]
    assert said.err.count("--seal-key-file") == 1


def test_a_pin_under_a_foreign_seal_is_confirmed_or_does_not_hold(
    laptop: Laptop, upstream: Upstream, moved: tuple[str, str], image: str
) -> None:
    namespace = laptop.namespace
    before, after = moved
    (made,) = replica_sets(namespace)
    ((key, _),) = pins_of(made).items()
    for one in namespace.objects("Pod", app="app"):
        namespace.patch("Pod", one["metadata"]["name"], {"metadata": {"annotations": {"moorage.dev/images": None}}})
    for digest, expected in ((before, (placed(before), "pin")), ("sha256:" + "0" * 64, (placed(after), "fresh"))):
        forged = json.dumps({"images": {image: digest}, "seal": "f" * 32})
        namespace.patch("ReplicaSet", made["metadata"]["name"], {"metadata": {"annotations": {key: forged}}})
        upstream.forget()
        found = laptop.check("deploy/app", "--seal-key-file", "seal.key").images["deployment/app"]
        assert told(found) == expected
        assert digest in {one.target.rpartition("/")[2] for one in upstream.requests()}
    assert any("no more than a hint" in line for line in found["trace"])
    # The webhook remembers the pin that it read for this revision's Pods: a second here.
    until(
        "the webhook sees it too",
        lambda: told(laptop.check("deploy/app", "--server").images["deployment/app"]) == expected,
    )


def test_after_undo_the_old_pin_counts_again_as_explain_foretold(
    laptop: Laptop, upstream: Upstream, moved: tuple[str, str], image: str
) -> None:
    namespace = laptop.namespace
    before, after = moved
    namespace.kubectl("set", "env", "deployment/app", "COLOUR=blue")
    namespace.await_rollout("Deployment", "app")
    words = ["-n", namespace.name, "--owner", "deploy/app", "--seal-key-file", "seal.key", "-o", "json"]
    rollout = laptop.type("explain", image, *words).result["rollout"]
    newest, oldest = replica_sets(namespace)
    assert (rollout["revision"]["name"], rollout["revision"]["number"]) == (newest["metadata"]["name"], 2)
    assert (rollout["pin"]["digest"], rollout["pin"]["sealed"], rollout["now"]) == (after, True, after)
    assert {(one["digest"], one["sealed"]) for one in rollout["siblings"]} == {(after, True)}
    assert rollout["undo"] == {
        "revision": f"ReplicaSet {oldest['metadata']['name']}",
        "onReuse": "keep",
        "digest": before,
        "message": "it keeps its pin; the tag names another, which is warned about",
    }
    namespace.kubectl("rollout", "undo", "deployment/app")
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == [placed(before)]
    assert told(laptop.check("deploy/app").images["deployment/app"]) == (placed(before), "pin")


def test_pods_that_were_created_while_nobody_answered_are_named_and_no_others(
    laptop: Laptop, namespace: Namespace, webhooks: Start, upstream: Upstream, image: str
) -> None:
    upstream.push("team/app", "stable")
    namespace.create(pod("past", image))
    namespace.create(deployment("early", image))
    (early,) = namespace.await_pods("early", 1)
    webhooks(1, configuration(upstream.host))
    namespace.create(pod("seen", image))
    namespace.create(deployment("app", image))
    namespace.await_pods("app", 1)
    said = laptop.type("check", "pods", "-n", namespace.name, "-o", "patch", "--timeout", "20s")
    assert {one["name"] for one in said.result} == {"past", early["metadata"]["name"]}
    assert laptop.type("check", "pods", "-n", namespace.name, "-o", "diff", "--timeout", "20s").code == 1


def test_every_kind_is_decided_as_the_cluster_itself_does(
    laptop: Laptop, upstream: Upstream, webhooks: Start, image: str
) -> None:
    namespace = laptop.namespace
    digest = upstream.push("team/app", "stable")
    # Nothing that a registry said is remembered, so that a bare Pod is decided anew by both.
    webhooks(1, configuration(upstream.host, resolving={"fresh": "1ms"}))
    controller = replica_set("rc", image)
    controller |= {"kind": "ReplicationController", "spec": {**controller["spec"], "selector": {"app": "rc"}}}
    for made in (
        deployment("deploy", image, "nginx:1"),
        stateful_set("sts", image),
        daemon_set("ds", image),
        job("job", image),
        cron_job("cj", image),
        replica_set("rs", image),
        controller,
        pod("po", image),
        pod("absent", upstream.image("team/app", "nosuch")),
    ):
        namespace.create(made)
    for kind, name in (("Deployment", "deploy"), ("StatefulSet", "sts"), ("DaemonSet", "ds")):
        namespace.await_rollout(kind, name)
    for app in ("rs", "rc"):
        namespace.await_pods(app, 1)
    namespace.await_job("job")
    moved = upstream.push("team/app", "stable")
    shown = laptop.check("--seal-key-file", "seal.key")
    own = laptop.check("--server")
    sources = {name: one["source"] for name, one in shown.images.items()}
    assert sources == {
        "deployment/deploy": "pin",
        "statefulset/sts": "pin",
        "daemonset/ds": "pin",
        "job/job": "pin",
        "cronjob/cj": "fresh",
        "replicaset/rs": "sibling",
        "replicationcontroller/rc": "sibling",
        "pod/absent": "none",
        "pod/po": "fresh",
    }
    held = {name for name, source in sources.items() if source in {"pin", "sibling"}}
    assert {shown.images[name]["to"] for name in held} == {placed(digest)}
    assert shown.images["cronjob/cj"]["to"] == placed(moved)
    same = ("pointer", "from", "to", "action", "digest", "target")
    assert [[one[key] for key in same] for one in own.images.values()] == [
        [one[key] for key in same] for one in shown.images.values()
    ]
    # Of two Pods that it is asked about at once the webhook asks the registry for one: the other's is `cached`.
    assert {name: own.images[name]["source"] for name in held} == {name: sources[name] for name in held}
    assert (shown.code, own.code) == (3, 3)
    assert shown.images["pod/absent"]["reason"] == own.images["pod/absent"]["reason"] == "AbsentOrDenied"
    assert {one["source"]: one["warnings"] for one in own.result["objects"] if one["warnings"]}.keys() == {"pod/absent"}
    (of_job,) = namespace.api.objects("Pod", namespace.name, labels="job-name=job")
    word = f"po/{of_job['metadata']['name']}"
    (alone,) = laptop.check(word, "--seal-key-file", "seal.key").images.values()
    assert told(alone) == (placed(digest), "pin")


def test_policies_and_missing_rights_are_told_apart(
    laptop: Laptop, plane: Running, account: Account, upstream: Upstream, image: str
) -> None:
    namespace = laptop.namespace
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("warn", "enforce")}
    manifest = {"apiVersion": "apps/v1", **deployment("app", image)}
    (laptop.folder / "app.json").write_text(json.dumps(manifest))
    words = ["--server", "-f", "app.json"]
    plane.api.patch("Namespace", namespace.name, {"metadata": {"labels": {next(iter(levels)): "restricted"}}})
    warned = until("it is warned about", lambda: next(iter(laptop.check(*words).result["objects"][0]["warnings"]), ""))
    assert warned.startswith("would violate PodSecurity")
    plane.api.patch("Namespace", namespace.name, {"metadata": {"labels": levels}})
    said = until("it is refused", lambda: _with_code(laptop.check(*words), 4))
    assert said is not None
    assert said.images["app.json:1"]["action"] == "refused"
    assert "violates PodSecurity" in said.err
    laptop.kubeconfig = account.kubeconfig
    said = laptop.check(*words)
    assert (said.code, said.result["objects"]) == (3, [])
    assert f'User "system:serviceaccount:moorage-system:{account.name}" cannot create' in said.err
    said = laptop.check("rc")
    assert said.code == 3
    assert "replicationcontrollers is forbidden" in said.err
    assert namespace.objects("Deployment") == []


@pytest.mark.parametrize("words", [(), ("deploy",)], ids=["all", "of a kind"])
def test_a_selector_that_is_none_is_told_once_and_is_the_callers_mistake(
    laptop: Laptop, words: tuple[str, ...]
) -> None:
    said = laptop.check(*words, "-l", ")(")
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("moorage: -l )(: ")


def test_a_namespace_that_cannot_be_is_the_callers_mistake(laptop: Laptop) -> None:
    said = laptop.type("check", "deploy", "-n", "no/such")
    assert said.code == 2
    assert "'no/such' is no name of a namespace" in said.err


def _with_code(said: Said, code: int) -> Said | None:
    return said if said.code == code else None


@pytest.fixture
def installed(plane: Running, account: Account, upstream: Upstream) -> Iterator[None]:
    """What a webhook in the cluster would be configured with: another target, and a rule of its own."""
    api, home = plane.api, "moorage-system"
    targets = {"regional": {"image": "{region}.example.net/{path}"}}
    rule = {"targets": ["regional"], "name": "installed"}
    data = {
        "moorage.yaml": configuration(upstream.host, targets=targets, rule=rule, digests="lock.yaml"),
        "lock.yaml": f"{upstream.host}/team/locked:1: sha256:{'1' * 64}\n",
    }
    api.create({"kind": "ConfigMap", "metadata": {"name": "moorage", "namespace": home}, "data": data})
    made = deployment("moorage", "moorage:1", replicas=0)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container |= {"name": "moorage", "env": [{"name": "MOORAGE_VAR_REGION", "value": "eu"}]}
    made["metadata"]["namespace"] = home
    api.create(made)
    yield
    api.delete("ConfigMap", "moorage", home)
    api.delete("Deployment", "moorage", home)


@pytest.mark.usefixtures("installed")
def test_the_installed_configuration_and_the_live_pins_decide(
    laptop: Laptop, upstream: Upstream, moved: tuple[str, str], image: str
) -> None:
    (laptop.folder / "moorage.yaml").unlink()
    before, after = moved
    regional = f"eu.example.net/team/app@{before}"
    said = laptop.check("deploy/app", "--from-cluster", "--seal-key-file", "seal.key")
    found = said.images["deployment/app"]
    assert (found["rule"], *told(found)) == ("installed", regional, "pin")
    manifest = {"apiVersion": "apps/v1", **deployment("app", image)}
    (laptop.folder / "same.json").write_text(json.dumps(manifest))
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "COLOUR", "value": "blue"}]
    (laptop.folder / "changed.json").write_text(json.dumps(manifest))
    locked = {"apiVersion": "v1", **pod("x", upstream.image("team/locked", "1"))}
    (laptop.folder / "locked.json").write_text(json.dumps(locked))
    images = laptop.check("--from-cluster", "same.json", "changed.json", "locked.json").images
    assert told(images["same.json:1"]) == (regional, "pin")
    assert told(images["changed.json:1"]) == (f"eu.example.net/team/app@{after}", "fresh")
    assert told(images["locked.json:1"]) == (f"eu.example.net/team/locked@sha256:{'1' * 64}", "locked")


def test_what_is_shown_can_be_applied_and_kubectl_sees_no_other_difference(
    laptop: Laptop, moved: tuple[str, str]
) -> None:
    namespace = laptop.namespace
    before, _ = moved
    manifest = laptop.type("check", "deploy/app", "-n", namespace.name, "-o", "yaml").out
    changed = namespace.kubectl("diff", "-f", "-", given=manifest, fine=(1,))
    lines = [line for line in changed.splitlines() if line.startswith(("+", "-")) and line[:3] not in {"+++", "---"}]
    assert [line.split()[-1] for line in lines if "generation" not in line] == [
        f"{laptop.image}",
        placed(before),
    ]


def test_all_namespaces_hold_what_makes_pods_and_nothing_that_is_made(laptop: Laptop, moved: tuple[str, str]) -> None:
    said = laptop.type("check", "-A", "-o", "json", "--offline", "--seal-key-file", "seal.key")
    assert said.code == 0
    here = [one["source"] for one in said.result["objects"] if one["namespace"] == laptop.namespace.name]
    assert here == ["deployment/app"]
