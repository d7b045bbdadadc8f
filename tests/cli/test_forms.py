"""Each form of `-o` on one manifest: what a person or a program gets to read."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import HOST, D, E, Shell
from tests.support.examples import many
from webhook.cli.forms import Checked, Result, machine, plain, reports, warnings
from webhook.cli.manifests import Found, Source, objects
from webhook.core.decision import Action, Decision
from webhook.core.printable import printable
from webhook.core.reason import Reason
from webhook.core.subject import TEMPLATES

MANIFEST = f"""\
# the shop
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop, namespace: web}}
spec:
  template:
    spec:
      initContainers:
        - {{name: side, image: '{HOST}/team/side:1.2'}}
      containers:
        - name: app
          image: {HOST}/team/app:stable   # by Keel
        - name: proxy
          image: envoyproxy/envoy:v1.36
        - name: odd
          image: "Not An Image"
"""
APP, SIDE = f"localhost:30081/team/app@{D}", f"localhost:30081/team/side@{E}"


@pytest.fixture
def manifest(shell: Shell) -> str:
    return shell.write("app.yaml", MANIFEST)


def test_the_table_has_a_line_an_image(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline") == 0

    rows = [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in shell.out.splitlines()]
    assert rows == [
        ["OBJECT", "CONTAINER", "IMAGE", "ACTION", "REASON", "TO"],
        ["Deployment/shop", "app", f"{HOST}/team/app:stable", "rewritten", "DigestLocked", APP],
        ["Deployment/shop", "proxy", "envoyproxy/envoy:v1.36", "unchanged", "NoRule", "-"],
        ["Deployment/shop", "odd", "Not An Image", "unchanged", "NotAReference", "-"],
        ["Deployment/shop", "side", f"{HOST}/team/side:1.2", "rewritten", "DigestLocked", SIDE],
    ]
    assert "1 object, 4 images: 2 rewritten, 2 unchanged" in shell.err


def test_the_wide_table_tells_rule_target_source_and_place(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "wide") == 0
    line = next(line for line in shell.out.splitlines() if "team/app:stable" in line)
    assert line.split()[-5:] == ["private", "kraken", "locked", "web", "app.yaml:12"]


def test_json_is_the_check_result(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "json") == 0
    result = json.loads(shell.out)
    assert (result["apiVersion"], result["kind"]) == ("moorage.dev/v1alpha1", "CheckResult")
    assert result["summary"] == {
        "objects": 1, "images": 4, "rewritten": 2, "pinned": 0, "recorded": 0, "unchanged": 2, "refused": 0, "failed": 0,
    }  # fmt: skip
    (one,) = result["objects"]
    assert {key: value for key, value in one.items() if key not in {"images", "warnings"}} == {
        "source": "app.yaml:2",
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "web",
        "name": "shop",
        "allowed": True,
    }
    (warning,) = one["warnings"]
    assert "Not An Image" in warning
    app = one["images"][0]
    assert app.pop("trace") != []
    assert app == {
        "pointer": "/spec/template/spec/containers/0/image",
        "line": 12,
        "container": "app",
        "from": f"{HOST}/team/app:stable",
        "to": APP,
        "action": "rewritten",
        "reason": "DigestLocked",
        "rule": "private",
        "target": "kraken",
        "digest": D,
        "source": "locked",
        "arm": None,
    }


def test_yaml_is_the_manifest_with_two_names_changed(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "yaml") == 0
    assert shell.out == MANIFEST.replace(f"{HOST}/team/app:stable", APP).replace(f"{HOST}/team/side:1.2", SIDE)


def test_a_diff_can_be_applied(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "diff") == 1
    lines = shell.out.splitlines()
    assert lines[:2] == ["--- a/app.yaml", "+++ b/app.yaml"]
    assert [line for line in lines[2:] if line.startswith(("-", "+"))] == [
        f"-        - {{name: side, image: '{HOST}/team/side:1.2'}}",
        f"+        - {{name: side, image: '{SIDE}'}}",
        f"-          image: {HOST}/team/app:stable   # by Keel",
        f"+          image: {APP}   # by Keel",
    ]


def test_a_patch_is_for_kubectl_patch(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "patch") == 0
    assert json.loads(shell.out) == [
        {
            "source": "app.yaml:2",
            "kind": "Deployment",
            "namespace": "web",
            "name": "shop",
            "patch": [
                {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": APP},
                {"op": "replace", "path": "/spec/template/spec/initContainers/0/image", "value": SIDE},
            ],
        }
    ]


def test_images_are_the_names_that_nodes_pull(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "images") == 0
    assert shell.out.splitlines() == sorted([APP, SIDE, "envoyproxy/envoy:v1.36"])


def test_junit_has_a_case_an_image_and_fails_what_is_refused(shell: Shell) -> None:
    refused = shell.write("refused.yaml", MANIFEST.replace("envoyproxy/envoy", "localhost:30081/envoy"))
    assert shell.type("check", refused, "--offline", "-o", "junit") == 4
    (suite,) = ET.fromstring(shell.out)
    assert suite.get("tests") == "4"
    assert suite.get("failures") == "1"
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["proxy: localhost:30081/envoy:v1.36"]


def test_sarif_names_file_and_line(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "sarif") == 0
    log = json.loads(shell.out)
    assert log["version"] == "2.1.0"
    (program,) = log["runs"]
    assert program["tool"]["driver"]["name"] == "moorage"
    rules = {rule["id"] for rule in program["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in program["results"]} <= rules
    odd = next(result for result in program["results"] if result["ruleId"] == "NotAReference")
    assert odd["level"] == "warning"
    assert odd["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "app.yaml"},
        "region": {"startLine": 16},
    }


def test_annotations_of_a_forge_cannot_be_broken_out_of(shell: Shell) -> None:
    text = (
        'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: "x%0A\\n::error::y"}]}\n'
    )
    assert shell.type("check", shell.write("pod.yaml", text), "--offline", "-o", "github") == 0
    (line,) = shell.out.splitlines()
    assert line.startswith("::warning file=pod.yaml,line=4")
    assert "\n::error" not in shell.out
    assert "%250A%0A" in line


@pytest.mark.parametrize("form", ["table", "wide", "json", "patch", "images", "junit", "sarif", "github", "yaml"])
def test_every_form_has_something_to_say_about_nothing(shell: Shell, form: str) -> None:
    empty = shell.write("empty.yaml", "# nothing\n---\n---\n")
    assert shell.type("check", empty, "--offline", "-o", form) == 0
    assert "0 objects, 0 images" in shell.err
    if form in {"json", "patch", "sarif"}:
        json.loads(shell.out)
    if form == "junit":
        ET.fromstring(shell.out)


def test_an_unknown_form_is_told_with_those_that_are_known(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "-o", "jsn") == 2
    assert all(form in shell.err for form in ("table", "json", "sarif"))


MACHINE = ["json", "patch", "images", "junit", "sarif", "github", "yaml", "diff", "table", "wide"]


@pytest.mark.parametrize("form", MACHINE)
def test_only_what_was_asked_for_goes_to_standard_output(shell: Shell, form: str) -> None:
    """Warnings of the configuration, broken documents, warnings of admission and the summary all go to the person."""
    with (shell.folder / "moorage.yaml").open("a") as file:
        file.write("registries: {r.example.com: {credentials: [ecr]}}\n")
    shell.write("broken.yaml", "a: [\n")
    manifest = shell.write("app.yaml", MANIFEST)
    shell.type("check", manifest, "--offline", "-o", form)
    alone = shell.out
    assert shell.type("check", manifest, "broken.yaml", "--offline", "-v", "-o", form) == 2
    assert "ecr logs in at" in shell.err
    assert "broken.yaml:2:1: " in shell.err
    assert "1 object, 4 images" in shell.err
    if form in {"images", "patch", "yaml", "diff", "table", "wide"}:
        assert shell.out.startswith(alone)
    for told in ("ecr logs in at", "app.yaml:16: ", "not known here", "configuration:", "1 object"):
        assert told not in shell.out
        assert told in shell.err


def test_a_document_that_cannot_be_read_is_in_the_reports(shell: Shell) -> None:
    shell.write("broken, 100%.yaml", "a: 1\n---\nb: [\n")
    names = ["check", "broken, 100%.yaml", "--offline", "-o"]
    why = "not YAML: did not find expected node content"

    assert shell.type(*names, "json") == 2
    assert json.loads(shell.out)["errors"] == [
        {"source": "broken, 100%.yaml:4", "line": 4, "column": 1, "message": why}
    ]

    assert shell.type(*names, "junit") == 2
    (suite,) = ET.fromstring(shell.out)
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == f"broken, 100%.yaml:4:1: {why}"

    assert shell.type(*names, "github") == 2
    assert shell.out == f"::error file=broken%2C 100%25.yaml,line=4,col=1,title=Unreadable::{why}\n"

    assert shell.type(*names, "sarif") == 2
    (result,) = json.loads(shell.out)["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("Unreadable", "error")
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "broken%2C%20100%25.yaml"},
        "region": {"startLine": 4, "startColumn": 1},
    }


# actions/toolkit packages/core/src/command.ts: escapeData leaves : and , alone, escapeProperty does not.
def test_an_annotation_shows_its_message_as_it_is(shell: Shell, manifest: str) -> None:
    assert shell.type("check", manifest, "--offline", "-o", "github") == 0
    notice = next(line for line in shell.out.splitlines() if "stable" in line)
    assert notice == (
        f"::notice file=app.yaml,line=12,title=DigestLocked::{HOST}/team/app:stable -> {APP}: "
        "rewritten (DigestLocked): target kraken taken"
    )


def test_what_did_not_go_well_is_said_once_with_its_first_place(shell: Shell) -> None:
    pods = [
        f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - {{name: c{number}, image: {image}}}\n"
        for number, image in enumerate(
            ["strict.example.com/app:1", "Not An Image", "strict.example.com/app:1", "localhost:30081/x:1"]
        )
    ]
    shell.write("pods.yaml", "---\n".join(pods))
    assert shell.type("check", "pods.yaml", "--offline") == 4
    lines = [line for line in shell.err.splitlines() if line.startswith("pods.yaml:")]
    assert lines == [
        "pods.yaml:11: Not An Image kept as is (NotAReference): the path must be lower-case",
        "pods.yaml:23: localhost:30081/x:1 refused (NamedByHand): target kraken: it carries no digest",
    ]  # fmt: skip


ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)


@many(60)
@given(image=ANY, name=ANY, container=ANY)
def test_no_name_breaks_a_form_or_reaches_the_terminal(image: str, name: str, container: str) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": container, "image": image}]}})  # fmt: skip
    source = Source("pod.json", text)
    found = [one for one in objects(source, namespace="default", templates=TEMPLATES) if isinstance(one, Found)]
    results = [
        Result(one, tuple(Decision(slot, Action.FAILED, Reason.UNAVAILABLE, to="") for slot in one.subject.slots))
        for one in found
    ]
    checked = [Checked(source, results, [])]
    assert len(plain.table(results, wide=True).splitlines()) in {0, 2}
    assert all(line.isprintable() for line in plain.table(results).splitlines())
    assert all(printable(line).isprintable() for line in warnings(results))
    ET.fromstring(reports.junit(checked))
    json.loads(reports.sarif(checked))
    json.loads(machine.json(checked))
    json.loads(machine.patch(checked))
    assert all(
        line.startswith("::warning file=pod.json,line=1,title=Unavailable::")
        for line in reports.github(checked).split("\n")[:-1]
    )


def keys(value: object) -> object:
    """The names in a value, without what they stand for."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_the_page_shows_the_fields_that_there_are(shell: Shell, manifest: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    shell.write("broken.yaml", "a: [\n")
    assert shell.type("check", manifest, "broken.yaml", "--offline", "-o", "json") == 2
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert keys(shown) == keys(json.loads(shell.out))
    assert shell.type("explain", "nginx", "--offline", "-o", "json") == 0
    for name in json.loads(shell.out):
        assert f"`{name}`" in page
