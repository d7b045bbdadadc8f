"""Each form of `-o` on one manifest: what a person or a program gets to read."""

import json
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import HOST, D, E, Shell

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
