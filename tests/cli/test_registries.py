"""The commands that ask: what they show, how often they ask, and how they end when a registry does not answer."""

import json
import signal
from collections.abc import Iterator
from threading import Event

import pytest

from tests.cli.conftest import Shell, started
from tests.support.aside import aside
from tests.support.faults import sent_as
from tests.support.registry import PATH, Asked, FakeRegistry, fake_registry, image_document
from tests.support.wire import Answer, silence


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


def test_a_lock_is_not_replaced_by_half_of_one(shell: Shell, registry: FakeRegistry) -> None:
    before = (shell.folder / "lock.yaml").read_text()
    shell.write("pod.json", pod(f"{registry.host}/{PATH}:nosuch"))
    assert shell.type("check", "pod.json", "--lock", "lock.yaml") == 3
    assert "moorage: lock.yaml is left as it was" in shell.err
    assert (shell.folder / "lock.yaml").read_text() == before


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
    ("a wrong variable", ["nginx"], ["--set", "x"], 2),
    ("no configuration", ["nginx"], ["--config", "nosuch.yaml"], 2),
]


@pytest.mark.parametrize(("images", "more", "code"), [row[1:] for row in EXITS], ids=[row[0] for row in EXITS])
def test_exit_codes(shell: Shell, registry: FakeRegistry, images: list[str], more: list[str], code: int) -> None:
    registry.push()
    shell.write("pod.json", pod(*(image.format(host=registry.host) for image in images)))
    assert shell.type("check", "pod.json", *more) == code
    assert "Traceback" not in shell.err


def test_what_hangs_ends_with_the_timeout_and_the_others_are_shown(shell: Shell, registry: FakeRegistry) -> None:
    registry.faults["manifest"] = sent_as(silence)
    shell.write("pod.json", pod(f"{registry.host}/{PATH}:stable", "nginx"))
    assert shell.type("check", "pod.json", "--timeout", "300ms", "-o", "json") == 3
    reasons = [image["reason"] for image in json.loads(shell.out)["objects"][0]["images"]]
    assert reasons == ["OutOfTime", "NoRule"]


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
