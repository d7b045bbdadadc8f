"""The commands that ask: what they show, how often they ask, and how they end when a registry does not answer."""

import io
import json
import signal
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest

from tests.cli.conftest import Shell, started
from tests.core.revisions import controller_revision, job, replica_set, review
from tests.support.aside import aside
from tests.support.canary import marked
from tests.support.faults import sent_as
from tests.support.registry import PATH, Asked, Document, FakeRegistry, fake_registry, image_document
from tests.support.wire import Answer, silence
from webhook.cli import progress
from webhook.core.manifest import OCI_INDEX, OCI_MANIFEST


@pytest.fixture
def registry(shell: Shell) -> Iterator[FakeRegistry]:
    with aside(fake_registry()) as registry:
        shell.write(
            "moorage.yaml",
            f"""\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
registries:
  "{registry.host}": {{plainHTTP: true, allowLoopback: true}}
targets:
  kraken: {{image: "localhost:30081/{{path}}", paths: ["team/**"], pull: anonymous}}
rules:
  - {{name: mine, images: ["{registry.host}/**"], tags: ["!never"], targets: [kraken]}}
  - {{name: strict, images: ["{registry.host}/**"], targets: [kraken], onFailure: refuse}}
""",
        )
        yield registry


def pod(*images: str) -> str:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    )


def manifests_asked(registry: FakeRegistry) -> int:
    return sum(one.purpose == "manifest" for one in registry.asked)


def test_two_thousand_manifests_with_twenty_images_take_twenty_requests(shell: Shell, registry: FakeRegistry) -> None:
    digests = [registry.push(f"v{number}", image_document(f'{{"n": {number}}}')) for number in range(20)]
    assert len(set(digests)) == 20
    documents = [pod(f"{registry.host}/{PATH}:v{number % 20}", "nginx") for number in range(2000)]
    shell.write("all.yaml", "\n---\n".join(documents))
    assert shell.type("check", "all.yaml", "-o", "json", "--timeout", "30s") == 0
    summary = json.loads(shell.out)["summary"]
    assert (summary["objects"], summary["images"], summary["rewritten"]) == (2000, 4000, 2000)
    assert manifests_asked(registry) == 20


def test_a_lock_is_written_and_used(shell: Shell, registry: FakeRegistry) -> None:
    digest = registry.push()
    shell.write("pod.json", pod(f"{registry.host}/{PATH}:stable"))
    assert shell.type("check", "pod.json", "--lock", "lock.yaml") == 0
    with (shell.folder / "moorage.yaml").open("a") as file:
        file.write("digests: lock.yaml\n")
    registry.asked.clear()
    assert shell.type("check", "pod.json", "-o", "json") == 0
    (image,) = json.loads(shell.out)["objects"][0]["images"]
    # The cache asks no password, so the upstream is asked whether this namespace may have the digest; not which it is.
    assert (image["digest"], image["source"], image["target"]) == (digest, "locked", "kraken")
    assert [one.path.rpartition("/")[2] for one in registry.of("manifest")] == [digest]


def test_a_lock_that_exists_is_asked_for_anew(shell: Shell, registry: FakeRegistry) -> None:
    image = f"{registry.host}/{PATH}:stable"
    registry.push()
    shell.write("pod.json", pod(image))
    with (shell.folder / "moorage.yaml").open("a") as file:
        file.write("digests: fresh.yaml\n")
    # The file need not be there before it is first written, and what it holds is not taken for the answer.
    assert shell.type("check", "pod.json", "--lock", "fresh.yaml") == 0
    moved = registry.push(document=image_document('{"moved": true}'))
    assert shell.type("check", "pod.json", "--lock", "fresh.yaml") == 0
    assert (shell.folder / "fresh.yaml").read_text().splitlines()[1:] == [f"{image}: {moved}"]


@pytest.mark.parametrize(
    ("image", "more", "code"),
    [("nosuch", [], 3), ("stable", ["--offline"], 0), ("never", [], 4), ("stable", ["broken.yaml"], 2)],
    ids=["not found", "offline", "refused", "broken beside it"],
)
def test_a_lock_is_not_replaced_by_half_of_one(
    shell: Shell, registry: FakeRegistry, image: str, more: list[str], code: int
) -> None:
    registry.push()
    before = (shell.folder / "lock.yaml").read_text()
    shell.write("broken.yaml", "a: [\n")
    shell.write("pod.json", pod(f"{registry.host}/{PATH}:{image}"))
    assert shell.type("check", "pod.json", *more, "--lock", "lock.yaml") == code
    assert "moorage: lock.yaml is left as it was" in shell.err
    assert (shell.folder / "lock.yaml").read_text() == before


def test_a_lock_that_cannot_be_written_is_said(shell: Shell, registry: FakeRegistry) -> None:
    registry.push()
    shell.write("pod.json", pod(f"{registry.host}/{PATH}:stable"))
    assert shell.type("check", "pod.json", "--lock", "nosuch/lock.yaml") == 2
    assert "moorage: --lock nosuch/lock.yaml: No such file or directory" in shell.err


EXITS = [
    ("all is well", ["{host}/team/app:stable"], [], 0),
    ("changes, asked for", ["{host}/team/app:stable"], ["--exit-code"], 1),
    ("changes, as a diff", ["{host}/team/app:stable"], ["-o", "diff"], 1),
    ("no changes", ["nginx"], ["--exit-code"], 0),
    ("not found", ["{host}/team/app:nosuch"], [], 3),
    ("refused", ["{host}/team/app:never"], [], 4),
    (
        "changes and not found: the highest wins",
        ["{host}/team/app:stable", "{host}/team/app:nosuch"],
        ["-o", "diff"],
        3,
    ),
    ("not found and refused: the highest wins", ["{host}/team/app:nosuch", "{host}/team/app:never"], [], 4),
    ("a wrong option", ["nginx"], ["--nosuch"], 2),
    ("a wrong duration", ["nginx"], ["--timeout", "soon"], 2),
    ("no time at all", ["nginx"], ["--timeout", "0s"], 2),
    ("logins that are not there", ["nginx"], ["--docker-config", "nosuch.json"], 2),
    ("logins that are none", ["nginx"], ["--docker-config", "moorage.yaml"], 2),
    ("a broken manifest and changes: the highest wins", ["{host}/team/app:stable"], ["-o", "diff", "broken.yaml"], 2),
    ("a broken manifest and not found: the highest wins", ["{host}/team/app:nosuch"], ["broken.yaml"], 3),
    ("a broken manifest and refused: the highest wins", ["{host}/team/app:never"], ["broken.yaml"], 4),
    ("a wrong variable", ["nginx"], ["--set", "x"], 2),
    ("no configuration", ["nginx"], ["--config", "nosuch.yaml"], 2),
]


@pytest.mark.parametrize(("images", "more", "code"), [row[1:] for row in EXITS], ids=[row[0] for row in EXITS])
def test_exit_codes(shell: Shell, registry: FakeRegistry, images: list[str], more: list[str], code: int) -> None:
    registry.push()
    shell.write("broken.yaml", "a: [\n")
    shell.write("pod.json", pod(*(image.format(host=registry.host) for image in images)))
    assert shell.type("check", "pod.json", *more) == code
    assert "internal error" not in shell.err


FORMS = ["table", "wide", "json", "yaml", "patch", "images", "junit", "sarif", "github"]


@pytest.mark.parametrize("form", FORMS)
def test_no_form_changes_how_it_ends(shell: Shell, registry: FakeRegistry, form: str) -> None:
    registry.push()
    for name, image, code in (("a", "stable", 0), ("b", "nosuch", 3), ("c", "never", 4)):
        shell.write(f"{name}.json", pod(f"{registry.host}/{PATH}:{image}"))
        assert shell.type("check", f"{name}.json", "-o", form) == code
    shell.write("broken.yaml", "a: [\n")
    assert shell.type("check", "broken.yaml", "-o", form) == 2


def test_what_hangs_ends_with_the_timeout_and_the_others_are_shown(shell: Shell, registry: FakeRegistry) -> None:
    registry.faults["manifest"] = sent_as(silence)
    shell.write("pod.json", pod(f"{registry.host}/{PATH}:stable", "nginx"))
    assert shell.type("check", "pod.json", "--timeout", "300ms", "-o", "json") == 3
    reasons = [image["reason"] for image in json.loads(shell.out)["objects"][0]["images"]]
    assert reasons == ["OutOfTime", "NoRule"]


def test_what_failed_is_told_with_place_registry_and_reason(shell: Shell, registry: FakeRegistry) -> None:
    shell.write("pods.yaml", "\n---\n".join([pod(f"{registry.host}/{PATH}:nosuch", "nginx")] * 3))
    assert shell.type("check", "pods.yaml") == 3
    image = f"{registry.host}/{PATH}:nosuch"
    assert shell.err.splitlines()[0] == (
        f"pods.yaml:1: {image} kept as is, not resolved (AbsentOrDenied): not found, or not yours (and 2 more)"
    )


def test_a_login_that_cannot_be_had_is_told_where_it_is_missed(shell: Shell, registry: FakeRegistry) -> None:
    registry.push()
    registry.login = "basic"
    shell.write("docker.json", json.dumps({"credHelpers": {registry.host: "nowhere-to-be-found"}}))
    image = f"{registry.host}/{PATH}:stable"
    shell.write("pod.json", pod(image))
    for words in (["check", "pod.json"], ["explain", image], ["resolve", image]):
        assert shell.type(*words, "--docker-config", "docker.json") == 3
        assert f"warning: no login for {registry.host} from its credential helper: " in shell.err
        assert "docker-credential-nowhere-to-be-found is not on the PATH" in shell.err


@pytest.mark.parametrize("place", ["--docker-config", "DOCKER_CONFIG", "HOME", "REGISTRY_AUTH_FILE"])
def test_logins_are_found_where_docker_and_podman_keep_them(
    shell: Shell, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    digest = registry.push()
    registry.login = "basic"
    user = b64encode(f"reader:{marked('password-of-reader')}".encode()).decode()
    file = {"HOME": "home/.docker/config.json", "DOCKER_CONFIG": "logins/config.json"}.get(place, "logins.json")
    shell.write(file, json.dumps({"auths": {registry.host: {"auth": user}}}))
    more = []
    if place == "--docker-config":
        more = [place, file]
    elif place != "HOME":
        monkeypatch.setenv(place, str(shell.folder / ("logins" if place == "DOCKER_CONFIG" else file)))
    assert shell.type("explain", f"{registry.host}/{PATH}:stable", "-o", "json", *more) == 0
    told = json.loads(shell.out)
    assert (told["digest"], told["credential"]) == (digest, "docker-config")
    assert marked("password-of-reader") not in shell.out + shell.err
    assert user not in shell.out + shell.err


def test_with_v_every_request_is_told(shell: Shell, registry: FakeRegistry) -> None:
    registry.push()
    image = f"{registry.host}/{PATH}:stable"
    shell.write("pod.json", pod(image, image))
    for words in (["check", "pod.json"], ["resolve", image]):
        assert shell.type(*words, "-v") == 0
        assert [line.rpartition(",")[0] for line in shell.err.splitlines() if line.startswith("sent: ")] == [
            f"sent: HEAD {registry.host}: 200"
        ]


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("colour", [True, False])
def test_a_bar_is_drawn_for_people_alone(
    shell: Shell, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, terminal: bool, colour: bool
) -> None:
    monkeypatch.setattr(progress, "LONG", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    registry.push()
    shell.write("pods.yaml", "\n---\n".join([pod(f"{registry.host}/{PATH}:stable")] * 5))
    told = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    assert shell.type("check", "pods.yaml", "-o", "images") == 0
    assert ("checking" in told.getvalue()) == ("reading" in told.getvalue()) == terminal
    assert ("\x1b[3" in told.getvalue()) == (terminal and colour)
    assert len(shell.out.splitlines()) == 1
    assert "\x1b" not in shell.out


def test_an_interrupt_while_a_registry_hangs_ends_with_130_at_once(shell: Shell, registry: FakeRegistry) -> None:
    asked = Event()

    def hanging(request: Asked, answer: Answer) -> Answer:
        asked.set()
        return sent_as(silence)(request, answer)

    registry.faults["manifest"] = hanging
    shell.write("pod.json", pod(f"{registry.host}/{PATH}:stable"))
    for words in (["check", "pod.json"], ["explain", f"{registry.host}/{PATH}:stable"]):
        asked.clear()
        with started(*words, "--timeout", "5m") as child:
            assert asked.wait(30)
            child.send_signal(signal.SIGINT)
            _, told = child.communicate(timeout=30)
        assert child.returncode == 130
        assert told == ""


def test_explain_tells_rules_requests_digest_and_targets(shell: Shell, registry: FakeRegistry) -> None:
    digest = registry.push()
    assert shell.type("explain", f"{registry.host}/{PATH}:stable", "-o", "json") == 0
    told = json.loads(shell.out)
    (request,) = told.pop("requests")
    assert request.pop("milliseconds") >= 0
    assert request == {"registry": registry.host, "method": "HEAD", "code": "200"}
    assert told["milliseconds"] >= 0
    assert {key: told[key] for key in ("rule", "digest", "source", "credential", "target", "to", "reason")} == {
        "rule": "mine",
        "digest": digest,
        "source": "fresh",
        "credential": "anonymous",
        "target": "kraken",
        "to": f"localhost:30081/{PATH}@{digest}",
        "reason": "Resolved",
    }


def test_explain_tells_why_rules_and_targets_were_passed_over(shell: Shell, registry: FakeRegistry) -> None:
    registry.push("never", path="other/app")
    assert shell.type("explain", f"{registry.host}/other/app:never") == 0
    lines = [line.removeprefix("  - ") for line in shell.out.splitlines()]
    assert lines[lines.index("rules:") + 1 :][:2] == [
        "rule mine passed over: tags does not match",
        "rule strict matches",
    ]
    assert lines[lines.index("requests:") + 1].startswith(f"HEAD {registry.host}: 200, ")
    assert "target kraken passed over: it does not serve other/app" in lines
    assert shell.type("explain", f"{registry.host}/other/app:never", "-o", "json") == 0
    assert json.loads(shell.out)["targets"] == [
        {
            "name": "kraken",
            "taken": False,
            "reason": "PathNotServed",
            "message": "target kraken passed over: it does not serve other/app",
        }
    ]


def test_explain_of_what_no_rule_covers_asks_nobody(shell: Shell, registry: FakeRegistry) -> None:
    assert shell.type("explain", "docker.io/library/nginx:1", "-o", "json") == 0
    told = json.loads(shell.out)
    assert (told["reason"], told["requests"]) == ("NoRule", [])
    assert told["rules"] == [
        "rule mine passed over: images does not match",
        "rule strict passed over: images does not match",
        "no rule matches docker.io/library/nginx",
    ]
    assert registry.asked == []


def test_explain_of_what_is_no_image_says_so(shell: Shell, registry: FakeRegistry) -> None:
    assert shell.type("explain", "Not An Image") == 0
    assert "NotAReference" in shell.out
    assert shell.type("explain", "") == 2


def test_explain_has_these_fields(shell: Shell, registry: FakeRegistry) -> None:
    assert shell.type("explain", f"{registry.host}/{PATH}:nosuch", "-o", "json") == 3
    assert list(json.loads(shell.out)) == [
        "image", "reference", "namespace", "action", "reason", "rule", "digest", "source", "credential", "target", "to",
        "arm", "milliseconds", "requests", "rules", "targets", "trace",
    ]  # fmt: skip


def test_explain_reads_labels_container_and_namespace(shell: Shell, registry: FakeRegistry) -> None:
    shell.write(
        "moorage.yaml",
        f"""\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
rules:
  - name: picky
    images: ["{registry.host}/**"]
    namespaces: [shop]
    containers: ["!istio-*"]
    podSelector: {{matchLabels: {{tier: web}}}}
""",
    )
    fitting = {"-n": "shop", "-c": "app", "-l": "tier=web"}
    rows = [
        ({}, "RuleMatched"),
        ({"-n": "other"}, "namespaces"),
        ({"-c": "istio-proxy"}, "containers"),
        ({"-l": "tier=db"}, "podSelector"),
    ]
    for row, expected in rows:
        words = [word for pair in {**fitting, **row}.items() for word in pair]
        assert shell.type("explain", f"{registry.host}/x:1", "--offline", "-o", "json", *words) == 0
        first = json.loads(shell.out)["rules"][0]
        assert first == ("rule picky matches" if not row else f"rule picky passed over: {expected} does not match")


def test_resolve_gives_what_is_known_of_each(shell: Shell, registry: FakeRegistry) -> None:
    digest = registry.push()
    good, gone = f"{registry.host}/{PATH}:stable", f"{registry.host}/{PATH}:nosuch"
    assert shell.type("resolve", good, gone, "-o", "json") == 3
    first, second = json.loads(shell.out)["items"]
    assert first.pop("milliseconds") >= 0
    assert first == {
        "image": good,
        "reference": f"{registry.host}/{PATH}@{digest}",
        "digest": digest,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "requests": 1,
    }
    assert second["reason"] == "AbsentOrDenied"
    assert registry.host in second["message"]


def test_resolve_tells_platforms_at_one_more_request(shell: Shell, registry: FakeRegistry) -> None:
    amd, arm = (
        registry.push(name, image_document(f'{{"architecture": "{name}", "os": "linux"}}'))
        for name in ("amd64", "arm64")
    )
    children = [
        {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "platform": {"os": "linux", "architecture": name}}
        for name, digest in (("amd64", amd), ("arm64", arm))
    ]
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
    registry.push("both", Document(OCI_INDEX, body))
    registry.asked.clear()
    image = f"{registry.host}/{PATH}:both"
    assert shell.type("resolve", image, "--platforms", "-o", "json") == 0
    (item,) = json.loads(shell.out)["items"]
    assert list(item) == ["image", "reference", "digest", "mediaType", "requests", "milliseconds", "platforms"]
    assert item["platforms"] == ["linux/amd64", "linux/arm64"]
    assert [one.method for one in registry.of("manifest")] == ["HEAD", "GET"]
    assert shell.type("resolve", image, "--platforms") == 0
    assert shell.out.splitlines()[1].split()[-1] == "linux/amd64,linux/arm64"


def test_resolve_offline_asks_nobody(shell: Shell, registry: FakeRegistry) -> None:
    assert shell.type("resolve", f"{registry.host}/{PATH}:stable", "--offline", "-o", "json") == 3
    assert json.loads(shell.out)["items"] == [
        {"image": f"{registry.host}/{PATH}:stable", "reason": "Offline", "message": "no registry was asked"}
    ]
    assert registry.asked == []


def test_resolve_of_a_host_that_is_not_listed_says_which_line_to_add(shell: Shell, registry: FakeRegistry) -> None:
    assert shell.type("resolve", "other.example.com/app:1") == 3
    assert "HostNotListed" in shell.out
    assert "registries.other.example.com" in shell.out
    assert registry.asked == []


def test_resolve_of_what_is_no_image_is_a_mistake_of_the_caller(shell: Shell, registry: FakeRegistry) -> None:
    digest = registry.push()
    assert shell.type("resolve", "Not An Image", f"{registry.host}/{PATH}:stable", "-o", "json") == 2
    first, second = json.loads(shell.out)["items"]
    assert (first["image"], first["reason"]) == ("Not An Image", "NotAReference")
    assert second["digest"] == digest


@pytest.mark.parametrize("made", [replica_set, controller_revision, job], ids=lambda make: make.__name__)
def test_a_review_of_a_revision_shows_what_its_pods_will_be_pinned_to(
    shell: Shell, registry: FakeRegistry, made: Callable[[str], dict[str, Any]]
) -> None:
    digest = registry.push("stable", image_document("{}"))
    resource = {replica_set: "replicasets", controller_revision: "controllerrevisions", job: "jobs"}[made]
    new = made(f"{registry.host}/{PATH}:stable")
    shell.write("review.json", review(resource, new).decode())
    assert shell.type("check", "review.json", "-o", "json") == 0
    (shown,) = json.loads(shell.out)["objects"]
    assert (shown["kind"], shown["name"]) == (new["kind"], new["metadata"]["name"])
    (image,) = shown["images"]
    assert (image["action"], image["reason"], image["digest"], image["to"]) == ("recorded", "PinWritten", digest, None)
    shell.write("again.json", review(resource, new).decode())
    assert shell.type("check", "again.json", "-o", "yaml") == 0
    assert json.loads(shell.out) == json.loads(review(resource, new))
