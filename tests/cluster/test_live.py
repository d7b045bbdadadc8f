"""The command line and a live cluster: what `check` says of live objects is what the webhook does with their next Pods."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace
from tests.cluster.test_pins_deployment import pins_of, replica_sets
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import deployment

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]
KEY = "0123456789abcdef" * 4
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

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        self.folder = folder
        self.kubeconfig = namespace.kubeconfig

    def type(self, *words: str) -> Said:
        environ = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}
        done = subprocess.run(
            [MOORAGE, *words], cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def check(self, *words: str) -> Said:
        return self.type("check", "-n", self.namespace.name, "-o", "json", *words)


@pytest.fixture
def laptop(namespace: Namespace, upstream: Upstream, tmp_path: Path) -> Laptop:
    folder = tmp_path / "laptop"
    folder.mkdir()
    (folder / "moorage.yaml").write_text(configuration(upstream.host))
    (folder / "seal.key").write_text(f"{KEY}\n")
    return Laptop(namespace, folder)


@pytest.fixture
def image(upstream: Upstream) -> str:
    return upstream.image("team/app", "stable")


@pytest.fixture
def moved(namespace: Namespace, upstream: Upstream, webhooks: Start, image: str) -> tuple[str, str]:
    """A Deployment that is rolled out, and a tag that has moved since: the digests before and after."""
    before = upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host), seal_keys=[KEY])
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


def test_a_pin_that_nobody_confirms_does_not_hold(
    laptop: Laptop, upstream: Upstream, moved: tuple[str, str], image: str
) -> None:
    """As the webhook would find it if its key were another: a forged pin names what the registry does not have."""
    namespace = laptop.namespace
    _, after = moved
    (made,) = replica_sets(namespace)
    ((key, _),) = pins_of(made).items()
    forged = json.dumps({"images": {image: "sha256:" + "0" * 64}, "seal": "f" * 32})
    namespace.patch("ReplicaSet", made["metadata"]["name"], {"metadata": {"annotations": {key: forged}}})
    for one in namespace.objects("Pod", app="app"):
        namespace.patch("Pod", one["metadata"]["name"], {"metadata": {"annotations": {"moorage.dev/images": None}}})
    said = laptop.check("deploy/app", "--seal-key-file", "seal.key")
    found = said.images["deployment/app"]
    assert told(found) == (placed(after), "fresh")
    assert any("no more than a hint" in line for line in found["trace"])
    assert told(laptop.check("deploy/app", "--server").images["deployment/app"])[0] == placed(after)


def test_after_undo_the_old_pin_counts_again(laptop: Laptop, upstream: Upstream, moved: tuple[str, str]) -> None:
    namespace = laptop.namespace
    before, after = moved
    namespace.kubectl("set", "env", "deployment/app", "COLOUR=blue")
    namespace.await_rollout("Deployment", "app")
    assert told(laptop.check("deploy/app").images["deployment/app"]) == (placed(after), "pin")
    explained = laptop.type(
        "explain",
        upstream.image("team/app", "stable"),
        "--owner",
        "deploy/app",
        "-o",
        "json",
        "-n",
        namespace.name,
        "--seal-key-file",
        "seal.key",
    ).result["rollout"]
    assert explained["undo"]["digest"] == before
    namespace.kubectl("rollout", "undo", "deployment/app")
    namespace.await_rollout("Deployment", "app")
    assert told(laptop.check("deploy/app").images["deployment/app"]) == (placed(before), "pin")
    assert namespace.images("app") == [placed(before)]
    print(
        laptop.type("explain", upstream.image("team/app", "stable"), "--owner", "deploy/app", "-n", namespace.name).out
    )
    print(
        laptop.type(
            "explain",
            upstream.image("team/app", "stable"),
            "--owner",
            "deploy/app",
            "-n",
            namespace.name,
            "--seal-key-file",
            "seal.key",
            "-o",
            "json",
        ).out
    )
