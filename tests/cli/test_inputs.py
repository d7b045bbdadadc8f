"""Where manifests come from, what may be in them, and what is wrong with some."""

import io
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import HOST, D, Shell
from tests.support.examples import many
from webhook.cli.manifests import Found, Passed, Source, objects
from webhook.core.subject import TEMPLATES
from webhook.document import BadDocument, decode
from webhook.splice import splice

APP = f"localhost:30081/team/app@{D}"
POD = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: one}}\nspec: {{containers: [{{name: a, image: {HOST}/team/app:stable}}]}}\n"


def images(shell: Shell) -> list[tuple[str, str, str]]:
    """Kind, pointer and result of each image."""
    return [
        (one["kind"], image["pointer"], image["to"] or image["reason"])
        for one in json.loads(shell.out)["objects"]
        for image in one["images"]
    ]


def check(shell: Shell, *arguments: str) -> int:
    return shell.type("check", "--offline", "-o", "json", *arguments)


def typed_in(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    typed_in(monkeypatch, POD.encode())
    assert check(shell, "-") == 0
    assert json.loads(shell.out)["objects"][0]["source"] == "stdin:1"
    typed_in(monkeypatch, POD.encode())
    assert check(shell, "-f", "-") == 0
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]


def test_files_by_name_and_by_option_in_the_order_given(shell: Shell) -> None:
    for name in ("a.yaml", "b.yml", "c.json"):
        shell.write(name, POD if name != "c.json" else json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": {}}))
    assert check(shell, "b.yml", "-f", "a.yaml", "-f", "c.json") == 0
    assert [one["source"] for one in json.loads(shell.out)["objects"]] == ["b.yml:1", "a.yaml:1", "c.json:1"]


def test_a_folder_is_read_flat_or_whole(shell: Shell) -> None:
    shell.write("all/a.yaml", POD)
    shell.write("all/notes.txt", "no manifest")
    shell.write("all/deep/b.yaml", POD)
    assert check(shell, "all") == 0
    assert [one["source"] for one in json.loads(shell.out)["objects"]] == ["all/a.yaml:1"]
    assert check(shell, "-R", "all") == 0
    assert len(images(shell)) == 2


def test_a_kustomization_is_built_by_kubectl(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shell.folder / "bin" / "kubectl"
    shell.write("bin/kubectl", f"#!/bin/sh\n[ \"$1 $2\" = 'kustomize overlay' ] && cat <<'END'\n{POD}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert check(shell, "-k", "overlay") == 0
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]
    assert check(shell, "-k", "elsewhere") == 2
    assert "kubectl kustomize elsewhere failed" in shell.err


def test_without_kubectl_a_kustomization_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(shell.folder))
    assert check(shell, "-k", "overlay") == 2
    assert shell.err == "moorage: -k needs kubectl or kustomize on the PATH\n"


CONTAINERS = {"containers": [{"name": "a", "image": f"{HOST}/team/app:stable"}]}
KINDS = [
    ("v1", "Pod", {"spec": CONTAINERS}, "/spec/containers/0/image"),
    ("v1", "PodTemplate", {"template": {"spec": CONTAINERS}}, "/template/spec/containers/0/image"),
    *(
        (version, kind, {"spec": {"template": {"spec": CONTAINERS}}}, "/spec/template/spec/containers/0/image")
        for version, kind in (
            ("v1", "ReplicationController"),
            ("apps/v1", "Deployment"),
            ("apps/v1", "ReplicaSet"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("batch/v1", "Job"),
            ("argoproj.io/v1alpha1", "Rollout"),
        )
    ),
    (
        "batch/v1",
        "CronJob",
        {"spec": {"jobTemplate": {"spec": {"template": {"spec": CONTAINERS}}}}},
        "/spec/jobTemplate/spec/template/spec/containers/0/image",
    ),
]


@pytest.mark.parametrize(("version", "kind", "body", "pointer"), KINDS, ids=[row[1] for row in KINDS])
def test_every_workload_is_known(shell: Shell, version: str, kind: str, body: dict[str, object], pointer: str) -> None:
    document = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, **body}
    assert check(shell, shell.write("x.json", json.dumps(document))) == 0
    assert images(shell) == [(kind, pointer, APP)]


def test_a_list_is_its_items(shell: Shell) -> None:
    items = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": CONTAINERS} for name in "ab"]
    document = {"apiVersion": "v1", "kind": "List", "items": [items[0], {"kind": "Service"}, items[1]]}
    assert check(shell, shell.write("list.json", json.dumps(document))) == 0
    assert [one["name"] for one in json.loads(shell.out)["objects"]] == ["a", "b"]
    assert shell.type("check", "--offline", "-o", "yaml", "list.json") == 0
    assert [item["spec"]["containers"][0]["image"] for item in json.loads(shell.out)["items"] if "spec" in item] == [
        APP
    ] * 2


def test_a_review_is_answered_as_the_server_would(shell: Shell) -> None:
    request = {
        "uid": "u",
        "operation": "CREATE",
        "namespace": "shop",
        "resource": {"version": "v1", "resource": "pods"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "lies"}, "spec": CONTAINERS},
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    assert check(shell, shell.write("review.json", json.dumps(review))) == 0
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]
    assert json.loads(shell.out)["objects"][0]["namespace"] == "shop"


def test_other_kinds_are_passed_over(shell: Shell) -> None:
    text = (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\n---\n{POD}---\nkind: Rollout\napiVersion: other/v1\n"
    )
    assert check(shell, shell.write("mixed.yaml", text)) == 0
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]


BYTES = [
    ("carriage returns", POD.replace("\n", "\r\n")),
    ("no final newline", POD.rstrip("\n")),
    ("comments and blank lines", f"\n# a\n\n{POD}\n# b\n\n"),
    ("a byte order mark", f"\ufeff{POD}"),
    ("an anchor", POD.replace("image: ", "image: &app ")),
    ("double quotes", POD.replace(f"{HOST}/team/app:stable", f'"{HOST}/team/app:stable"')),
    ("single quotes", POD.replace(f"{HOST}/team/app:stable", f"'{HOST}/team/app:stable'")),
    ("other documents", f"a: 1\n---\n{POD}...\n---\nb: 2"),
    ("letters beyond ASCII", f"# grüße 🚢\n{POD}"),
]


@pytest.mark.parametrize("text", [row[1] for row in BYTES], ids=[row[0] for row in BYTES])
def test_yaml_keeps_every_other_byte(shell: Shell, text: str) -> None:
    assert shell.type("check", "--offline", "-o", "yaml", shell.write("pod.yaml", text)) == 0
    assert shell.out.encode() == text.replace(f"{HOST}/team/app:stable", APP).encode()


CHANGED = POD.replace(f"{HOST}/team/app:stable", APP)
STREAMS = [
    ("plain", POD, POD, f"{CHANGED}---\n{CHANGED}"),
    ("a marker at the start of the second", POD, f"---\n{POD}", f"{CHANGED}---\n{CHANGED}"),
    ("no newline at the end of the first", POD.rstrip(), POD, f"{CHANGED}---\n{CHANGED}"),
    ("a byte order mark in both", f"\ufeff{POD}", f"\ufeff{POD}", f"\ufeff{CHANGED}---\n{CHANGED}"),
    (
        "a directive in the second",
        POD,
        f"# old\n%YAML 1.1\n---\n{POD}",
        f"{CHANGED}...\n# old\n%YAML 1.1\n---\n{CHANGED}",
    ),
    ("nothing in the first", "", POD, CHANGED),
    ("nothing in the second", POD, "", CHANGED),
]


@pytest.mark.parametrize(("first", "second", "stream"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS])
def test_several_files_become_documents_of_one_stream(shell: Shell, first: str, second: str, stream: str) -> None:
    shell.write("a.yaml", first)
    shell.write("b.yaml", second)
    assert shell.type("check", "--offline", "-o", "yaml", "a.yaml", "b.yaml") == 0
    assert shell.out == stream
    # What was printed is read again, and is what admission would leave alone.
    shell.write("again.yaml", shell.out)
    check(shell, "again.yaml")
    expected = sum(text.count("kind: Pod") for text in (first, second))
    assert [one["images"][0]["from"] for one in json.loads(shell.out)["objects"]] == [APP] * expected


def test_a_file_that_cannot_be_read_is_left_out_of_the_stream(shell: Shell) -> None:
    shell.write("a.yaml", POD)
    assert shell.type("check", "--offline", "-o", "yaml", "nosuch.yaml", "a.yaml") == 2
    assert shell.out == CHANGED


BROKEN = [
    ("an open bracket", "a: [\n", ":2:1: "),
    ("a tab", "a:\n\tb: 1\n", ":2:1: a tab may not indent YAML"),
    ("a key that comes twice", POD.replace("kind: Pod", "kind: Pod\nkind: Pod"), ":3:1: "),
    ("aliases that multiply", "a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(
        f"{chr(99 + n)}: &{chr(99 + n)} [{', '.join(f'*{chr(98 + n)}' for _ in range(9))}]\n" for n in range(9)
    ), ":1:4: the document is nested too deeply, or its aliases multiply"),
    ("an alias without anchor", "a: *nowhere\n", ":1:4: an alias without its anchor"),
    ("nothing but bytes", "\0\1\2", ":1:1: the file is binary"),
    ("a Deployment without sense", "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: 5}}}\n", ":3:38: Deployment: spec.template.spec.containers: a list is wanted, not a number"),
    ("a review without uid", '{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}', ":1:1: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_broken_is_named_with_its_place_and_the_rest_is_done(shell: Shell, text: str, place: str) -> None:
    shell.write("broken.yaml", text)
    shell.write("good.yaml", POD)
    assert check(shell, "broken.yaml", "good.yaml") == 2
    assert any(line.startswith(f"broken.yaml{place}") for line in shell.err.splitlines())
    assert ("Pod", "/spec/containers/0/image", APP) in images(shell)


def test_a_broken_document_does_not_hide_the_others_of_its_file(shell: Shell) -> None:
    shell.write("three.yaml", f"{POD}---\na: [\n---\n{POD}")
    assert check(shell, "three.yaml") == 2
    assert "three.yaml:7:1: " in shell.err
    assert len(images(shell)) == 2


def test_bytes_that_are_no_text_are_named_with_their_place(shell: Shell) -> None:
    (shell.folder / "latin.yaml").write_bytes(b"a: 1\nb: gr\xfc\xdfe\n")
    assert check(shell, "latin.yaml") == 2
    assert "latin.yaml:2:6: the file is not UTF-8 text" in shell.err


def test_a_file_of_fifty_megabytes_is_refused_unread(shell: Shell) -> None:
    with (shell.folder / "large.yaml").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    shell.write("good.yaml", POD)
    assert check(shell, "large.yaml", "good.yaml") == 2
    assert "large.yaml:1:1: the file has more than 32 MiB" in shell.err
    assert len(images(shell)) == 1


@pytest.mark.parametrize("name", ["nosuch.yaml", "manifests/app", "deployment.yaml"])
def test_a_file_that_is_not_there_is_named(shell: Shell, name: str) -> None:
    assert check(shell, name) == 2
    assert f"{name}:1:1: cannot be read: No such file or directory" in shell.err


def test_nothing_to_read_is_said(shell: Shell) -> None:
    assert check(shell) == 2
    asked = "name files, folders or live objects (KIND/NAME), - for standard input, or give -A, -n or -l"
    assert shell.err == f"moorage: {asked}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_folder_of_links_to_nowhere_is_passed_over(shell: Shell) -> None:
    shell.write("all/a.yaml", POD)
    Path("all/b.yaml").symlink_to("nowhere")
    assert check(shell, "all") == 0
    assert len(images(shell)) == 1


@pytest.mark.parametrize("names", [["a.yaml", "./a.yaml"], ["a.yaml", "-f", "a.yaml"], [".", "a.yaml"]], ids=" ".join)
def test_a_file_that_is_named_twice_is_checked_once(shell: Shell, names: list[str]) -> None:
    shell.write("a.yaml", POD)
    assert check(shell, *names) == 0
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]
    assert shell.type("check", "--offline", "-o", "diff", *names) == 1
    assert shell.out.count(f"+spec: {{containers: [{{name: a, image: {APP}}}]}}") == 1


JSON = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"annotations": {"note": "🚢 \\\\ud83d"}},
        "spec": {"containers": [{"name": "a", "image": f"{HOST}/team/app:stable"}]},
    }
)


def test_json_objects_may_follow_each_other_and_hold_escapes_that_yaml_does_not_know(shell: Shell) -> None:
    assert r"\ud83d\udea2" in JSON
    text = f"{JSON}\n{JSON}{json.dumps(json.loads(JSON), indent=4)}\n"
    assert check(shell, shell.write("stream.json", text)) == 0
    assert [one["source"] for one in json.loads(shell.out)["objects"]] == [f"stream.json:{line}" for line in (1, 2, 2)]
    assert shell.type("check", "--offline", "-o", "yaml", "stream.json") == 0
    assert shell.out == text.replace(f"{HOST}/team/app:stable", APP)


def test_an_empty_folder_is_no_success(shell: Shell) -> None:
    shell.write("empty/deep/a.yaml", POD)
    assert check(shell, "empty") == 2
    assert "empty:1:1: no file in it ends with .yaml, .yml or .json; -R looks into sub-folders" in shell.err
    assert check(shell, "-R", "empty") == 0
    shell.write("none/notes.txt", "x")
    assert check(shell, "-R", "none") == 2
    assert "none:1:1: no file in it ends with .yaml, .yml or .json\n" in shell.err


def test_a_pipe_is_read_like_a_file(shell: Shell) -> None:
    os.mkfifo("pipe")
    writing = Thread(target=Path("pipe").write_text, args=(POD,))
    writing.start()
    assert check(shell, "pipe") == 0
    writing.join(10)
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]


def test_what_never_ends_is_given_up(shell: Shell) -> None:
    assert check(shell, "/dev/zero") == 2
    assert "/dev/zero:1:1: the file has more than 32 MiB" in shell.err


def test_standard_input_of_fifty_megabytes_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    typed_in(monkeypatch, b"#" * (50 << 20))
    shell.write("good.yaml", POD)
    assert check(shell, "-", "good.yaml") == 2
    assert "stdin:1:1: the file has more than 32 MiB" in shell.err
    assert len(images(shell)) == 1


def test_a_closed_standard_input_is_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert check(shell, "-") == 2
    assert shell.err.startswith("stdin:1:1: cannot be read: it is closed\n")


def test_an_address_is_not_fetched(shell: Shell) -> None:
    assert check(shell, "https://example.com/pod.yaml") == 2
    assert "a URL is not fetched, pipe it into `-`" in shell.err


SHAPES = [
    ("number as an image", "spec: {containers: [{name: a, image: 1.10}]}", "4:38: Pod: spec.containers[0].image: a text is wanted, not a number; put quotes around it"),
    ("truth as a name", "spec: {containers: [{name: yes, image: x}]}", "4:28: Pod: spec.containers[0].name: a text is wanted, not a truth value; put quotes around it"),
    ("mapping as an image", "spec: {initContainers: [{name: a, image: {}}]}", "4:42: Pod: spec.initContainers[0].image: a text is wanted, not a mapping"),
    ("list as a spec", "spec: []", "4:7: Pod: spec: a mapping is wanted, not a list"),
    ("text as a spec", "spec: x", "4:7: Pod: spec: a mapping is wanted, not a text"),
    ("number in a label", "metadata: {labels: {a: 1}}", "4:20: Pod: metadata.labels: a text is wanted, not a number; put quotes around it"),
    ("text as metadata", "metadata: x", "4:11: Pod: metadata: a mapping is wanted, not a text"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "told"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
def test_a_wrong_type_is_told_where_it_stands(shell: Shell, line: str, told: str) -> None:
    shell.write("pod.yaml", f"# a Pod\napiVersion: v1\nkind: Pod\n{line}\n")
    assert check(shell, "pod.yaml") == 2
    assert shell.err.startswith(f"pod.yaml:{told}\n")


def test_one_wrong_item_does_not_hide_the_rest_of_its_list(shell: Shell) -> None:
    item = {"apiVersion": "v1", "kind": "Pod", "spec": CONTAINERS}
    items = [item, {**item, "spec": {"containers": [{"image": 1}]}}, None, "x", item]
    shell.write("list.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1))
    assert check(shell, "list.json") == 2
    assert len(images(shell)) == 2
    assert "list.json:23:16: Pod: spec.containers[0].image: a text is wanted, not a number" in shell.err


def test_with_v_it_is_said_what_was_passed_over_and_why(shell: Shell) -> None:
    shell.write("a.yaml", f"{POD}---\n\napiVersion: v1\nkind: Service\n---\njust: this\n--- text\n")
    assert check(shell, "-v", "a.yaml") == 0
    lines = shell.err.splitlines()
    assert "configuration: moorage.yaml" in lines
    assert [line for line in lines if line.endswith("passed over")] == [
        "a.yaml:7: Service: passed over",
        "a.yaml:10: no kind: passed over",
        "a.yaml:11: no kind: passed over",
    ]
    assert lines[lines.index(f"a.yaml:4: {HOST}/team/app:stable") + 1] == "  - rule private matches"
    assert lines[-1].startswith("1 object, 1 image: 1 rewritten; 3 other documents passed over (")


def test_a_review_that_the_server_leaves_alone_is_told_why(shell: Shell) -> None:
    request = {"uid": "u", "operation": "CREATE", "resource": {"version": "v1", "resource": "pods"}}
    many = {"spec": {"containers": [{"name": str(number), "image": "nginx"} for number in range(300)]}}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    shell.write("many.json", json.dumps({**review, "request": {**request, "object": many}}))
    assert check(shell, "many.json") == 2
    assert "many.json:1:1: the server would leave it as it is: it names more than 256 images" in shell.err
    shell.write("other.json", json.dumps({**review, "request": {**request, "operation": "DELETE"}}))
    assert check(shell, "-v", "other.json") == 0
    assert "other.json:1: AdmissionReview of DELETE pods: passed over" in shell.err


def test_a_pod_that_carries_our_own_annotation_does_not_change_again(shell: Shell) -> None:
    """What `kubectl get pod -o yaml` shows after admission."""
    entry = {"from": f"{HOST}/team/app:stable", "digest": D, "target": "kraken", "rule": "private", "source": "fresh"}
    annotation = json.dumps({"images": {"containers/a": entry}, "time": 1, "seal": ""})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "annotations": {"moorage.dev/images": annotation}},
        "spec": {"containers": [{"name": "a", "image": APP}]},
    }
    shell.write("pod.json", json.dumps(pod))
    for form in ("diff", "patch", "json"):
        assert shell.type("check", "--offline", "--exit-code", "-o", form, "pod.json") == 0
    (image,) = json.loads(shell.out)["objects"][0]["images"]
    assert (image["from"], image["to"]) == (f"{HOST}/team/app:stable", APP)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(f"{HOST}/team/app:stable")
)
NAMES = st.sampled_from(
    ["spec", "template", "metadata", "containers", "initContainers", "volumes", "image", "reference", "name", "labels",
     "annotations", "items", "kind", "apiVersion", "request", "object", "uid", "jobTemplate", "ownerReferences"]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)
KIND = st.sampled_from(
    [
        ("v1", "Pod"),
        ("apps/v1", "Deployment"),
        ("batch/v1", "CronJob"),
        ("v1", "List"),
        ("admission.k8s.io/v1", "AdmissionReview"),
    ]
)


def read(text: str) -> list[Found | Passed | BadDocument]:
    return list(objects(Source("f", text), namespace="default", templates=TEMPLATES))


@many(100)
@given(kind=KIND, value=st.dictionaries(NAMES, VALUES, max_size=4))
def test_no_shape_of_a_manifest_is_a_fault_of_ours(kind: tuple[str, str], value: dict[str, object]) -> None:
    document = {**value, "apiVersion": kind[0], "kind": kind[1]}
    for one in read(json.dumps(document)):
        if isinstance(one, Found):
            assert one.document is not None
            # Every image that was found can be replaced where it stands.
            wanted = {one.at + slot.pointer: "r.io/x:1" for slot in one.subject.slots}
            assert len(splice(one.document, wanted)) == len(one.subject.slots)
        if isinstance(one, BadDocument):
            assert str(one).startswith("f:1:")


@many(100)
@given(
    st.text(st.sampled_from("abk: -\n\t[]{}&*!|>'\"#%@`,?<~.\ufeff\r\u2028\x00\x07🚢"), max_size=40)
    | st.text(max_size=30)
)
def test_no_text_is_a_fault_of_ours(text: str) -> None:
    for one in read(text):
        assert not isinstance(one, Found)


@many(80)
@given(st.binary(max_size=40))
def test_no_bytes_are_a_fault_of_ours(data: bytes) -> None:
    with suppress(BadDocument):
        read(decode(data, "f"))


def test_a_list_as_the_api_server_gives_it_is_opened(shell: Shell) -> None:
    item = {"metadata": {"name": "one"}, "spec": CONTAINERS}
    shell.write("pods.json", json.dumps({"apiVersion": "v1", "kind": "PodList", "items": [item]}))
    assert check(shell, "pods.json") == 0
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]
    (told,) = json.loads(shell.out)["objects"]
    assert (told["apiVersion"], told["name"]) == ("v1", "one")
    assert shell.type("check", "--offline", "-o", "yaml", "pods.json") == 0
    assert APP in shell.out


def test_json_with_half_characters_and_signs_of_aliases_changes_as_any_other(shell: Shell) -> None:
    text = json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"annotations": {"a": "🚢", "b": "*&"}}, "spec": CONTAINERS}
    )
    assert "\\ud83d\\udea2" in text
    assert check(shell, shell.write("pod.json", text)) == 0
    assert images(shell) == [("Pod", "/spec/containers/0/image", APP)]
    assert shell.type("check", "--offline", "-o", "yaml", "pod.json") == 0
    assert shell.out == text.replace(f"{HOST}/team/app:stable", APP)
