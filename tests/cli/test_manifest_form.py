"""`-o yaml` and `-o diff`, as properties: nothing but images changes, whatever stands around them."""

import json
import subprocess
from difflib import unified_diff
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import many
from webhook.cli.forms import Checked, Result
from webhook.cli.forms.manifest import diffs, stream, unified
from webhook.cli.manifests import Found, Source, objects
from webhook.core.decision import Action, Decision
from webhook.core.reason import Reason
from webhook.core.subject import TEMPLATES, Slot
from webhook.splice import Change, apply

OLD, NEW = "registry.example.com/team/app:stable", "localhost:30081/team/app@sha256:" + "d" * 64

IMAGES = [
    (f"{OLD}", f"{NEW}"),
    (f"{OLD}  # kept", f"{NEW}  # kept"),
    (f"'{OLD}' # kept", f"'{NEW}' # kept"),
    (f'"{OLD}"', f'"{NEW}"'),
    ('"registry.example.com\\x2fteam/app:stable"', f'"{NEW}"'),
    (f"&one {OLD} # kept", f"&one {NEW} # kept"),
    (f"!!str {OLD}", f"!!str {NEW}"),
    (f"!!str &two '{OLD}'", f"!!str &two '{NEW}'"),
    (f"|-  # kept\n            {OLD}", f"{NEW}  # kept"),
    (f">-\n            {OLD}\n", f"{NEW}\n"),
    (f"\n            {OLD}", f"\n            {NEW}"),
    ("nginx:1.27 # not ours", "nginx:1.27 # not ours"),
    ("auto", "auto"),
    ("", ""),
    ("Not An Image", "Not An Image"),
]
BLOCK = """\
apiVersion: apps/v1
kind: Deployment   # {note}
metadata: {{name: shop, annotations: {{"note": "{old} {note}"}}}}
spec:
  template:
    spec:
      containers:
      - name: app
        image: {image}
        env:
        - {{name: IMAGE, value: {old}}}
      - {{image: nginx, name: "side"}}   # {note}
"""
FLOW = '{{apiVersion: v1, kind: Pod, # {note}\n spec: {{containers: [{{name: a, image: {image}}},\n {{"image":"{image}"}}]}}}}\n'
ALIAS = """\
apiVersion: v1
kind: Pod
x-image: &shared-{number} {x}
spec:
  containers:
  - &base-{number}
    name: a
    image: *shared-{number}
  initContainers:
  - {{<<: *base-{number}, name: b}} # {note}
"""
OTHERS = [
    "kind: ConfigMap\napiVersion: v1\ndata:\n  a: |\n    kind: Pod\n    image: " + OLD + "\n\n  b: 'x'\n",
    "# nothing but a comment: " + OLD + "\n",
    "\n\n",
    "- a list\n- of: " + OLD + "\n",
]
NOTES = st.text(st.sampled_from("aé🚢 '-"), max_size=6).map(str.strip)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str]:
    """A document, and what it shall become."""
    note, number = draw(NOTES), draw(st.integers(0, 3))
    kind = draw(st.sampled_from(["block", "flow", "json", "alias", "other"]))
    if kind == "block":
        before, after = draw(st.sampled_from(IMAGES))
        return BLOCK.format(image=before, old=OLD, note=note), BLOCK.format(image=after, old=OLD, note=note)
    if kind == "flow":
        return FLOW.format(image=OLD, note=note), FLOW.format(image=NEW, note=note)
    if kind == "json":
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"annotations": {"a": note}},
            "spec": {"containers": [{"image": OLD}]},
        }
        text = json.dumps(pod, indent=draw(st.sampled_from([None, 2, "\t"])), ensure_ascii=draw(st.booleans())) + "\n"
        return text, text.replace(OLD, NEW)
    if kind == "alias":
        # What stands at the anchor is nobody's image: it follows, because both of its users agree.
        return ALIAS.format(x=OLD, number=number, note=note), ALIAS.format(x=NEW, number=number, note=note)
    other = draw(st.sampled_from(OTHERS))
    return other, other


def decided(slot: Slot) -> Decision:
    """As a rule for the registry would have it."""
    if slot.text == OLD:
        return Decision(slot, Action.REWRITTEN, Reason.RESOLVED, "private", "kraken", NEW)
    return Decision(slot, Action.UNCHANGED, Reason.NO_RULE)


def checked(name: str, text: str) -> Checked:
    source = Source(name, text)
    found = [one for one in objects(source, namespace="default", templates=TEMPLATES) if isinstance(one, Found)]
    return Checked(source, [Result(one, tuple(map(decided, one.subject.slots))) for one in found], [])


@many(80)
@given(
    parts=st.lists(documents(), min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    cut=st.booleans(),
)
def test_images_change_and_no_other_byte(parts: list[tuple[str, str]], end: str, bom: bool, cut: bool) -> None:
    before, after = ("---\n".join(column) for column in zip(*parts, strict=True))
    if cut:
        before, after = before.rstrip("\n"), after.rstrip("\n")
    before, after = (("\ufeff" * bom) + text.replace("\n", end) for text in (before, after))
    assert stream([checked("f.yaml", before)]) == (after, [])
    # libyaml itself reads what was made; escapes of JSON that it does not know were there before.
    if "\\ud" not in before:
        list(yaml.load_all(after.removeprefix("\ufeff"), yaml.CSafeLoader))
    # And it comes out the same when it is checked again.
    assert stream([checked("f.yaml", after)]) == (after, [])


LINES = st.lists(st.text(st.sampled_from("ab é\x85\u2028\r"), max_size=4), max_size=30)


@many(80)
@given(
    lines=LINES,
    spots=st.sets(st.integers(0, 120), max_size=6),
    cut=st.booleans(),
    news=st.lists(st.sampled_from(["", "x", "x\ny", "\n"]), min_size=6, max_size=6),
)
def test_a_diff_is_what_diff_itself_would_say(lines: list[str], spots: set[int], cut: bool, news: list[str]) -> None:
    text = "\n".join(lines) + "\n" * (not cut)
    # A scalar may go over lines, and never takes the end of its last one with it.
    marks = [spot for spot in sorted(spots) if spot < len(text) and text[spot] != "\n"]
    changes = [Change(spot, spot + 1, f"<{new}>") for spot, new in zip(marks, news, strict=False)]
    told = "".join(unified("f", text, changes))
    before, after = (keep(one) for one in (text, apply(text, changes)))
    applied = patched(before, told)
    assert applied == after


def keep(text: str) -> list[str]:
    """Lines with their ends; only a newline ends one."""
    return [line + "\n" for line in text.split("\n")[:-1]] + [text.rsplit("\n", maxsplit=1)[-1]] * (
        not text.endswith("\n") and text != ""
    )


def patched(before: list[str], diff: str) -> list[str]:
    """The lines after a unified diff was applied to the letter: every context line and every removed one must be there."""
    rows = keep(diff)
    after: list[str] = []
    at = 0
    for row, following in zip(rows[2:], [*rows, ""][3:], strict=True):
        text = row[1:].removesuffix("\n") if following.startswith("\\") else row[1:]
        match row[0]:
            case "@":
                start, _, count = row.split(" ")[1].removeprefix("-").partition(",")
                begin = int(start) - (count != "0")
                after += before[at:begin]
                at = begin
            case "\\":
                continue
            case "+":
                after.append(text)
            case _:
                assert before[at] == text
                at += 1
                after += [text] * (row[0] == " ")
    return after + before[at:]


def test_a_diff_reads_like_that_of_diff() -> None:
    lines = [f"line {number}\n" for number in range(30)]
    text = "".join(lines)
    changes = [Change(text.index(f"{number}\n"), text.index(f"{number}\n") + 1, "X") for number in (12, 14, 25, 29)]
    expected = unified_diff(lines, apply(text, changes).splitlines(keepends=True), "a/f", "b/f")
    assert "".join(unified("f", text, changes)) == "".join(expected)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_git_applies_a_diff(tmp_path: Path, end: str, final: bool) -> None:
    text = (
        BLOCK.format(image=f">-\n            {OLD}", old=OLD, note="") + "---\n" + FLOW.format(image=OLD, note="")
    ).replace("\n", end)
    text = text if final else text.rstrip()
    (tmp_path / "f.yaml").write_bytes(text.encode())
    one = checked("f.yaml", text)
    told, torn = diffs([one])
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=told.encode(), check=True)
    assert (tmp_path / "f.yaml").read_bytes().decode() == stream([one])[0]
    assert torn == []


def test_an_alias_whose_places_would_differ_is_told_and_the_rest_is_written() -> None:
    text = f"kind: Pod\napiVersion: v1\nx: &x {OLD}\nspec: &spec\n  containers: [{{name: a, image: *x}}]\n"
    torn = text + "metadata: {annotations: {}}\n"
    shared = f"kind: List\napiVersion: v1\nitems:\n- &pod\n  apiVersion: v1\n  kind: Pod\n  spec: {{containers: [{{name: a, image: {OLD}}}]}}\n- *pod\n"
    assert stream([checked("a.yaml", shared)]) == (shared.replace(OLD, NEW), [])
    one = checked("a.yaml", shared)
    second = one.results[1]
    kept = Result(
        second.found, tuple(Decision(slot, Action.UNCHANGED, Reason.NO_RULE) for slot in second.found.subject.slots)
    )
    out, wrong = stream([Checked(one.source, [one.results[0], kept], []), checked("b.yaml", torn)])
    assert out.startswith("kind: Pod")
    assert [str(bad) for bad in wrong] == [
        "a.yaml:7:40: this value is used in several places through an alias, and they would differ"
    ]
