import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import many
from webhook.document import BadDocument, Document, documents
from webhook.splice import apply, splice

NEW = "localhost:30081/app@sha256:" + "a" * 64


def edited(text: str, edits: dict[str, str]) -> str:
    (document,) = documents(text, "f.yaml")
    assert isinstance(document, Document)
    return apply(text, splice(document, edits))


STYLES = {
    "plain": ("image: a/b:1 # why\nx: 1", f"image: {NEW} # why\nx: 1"),
    "single quotes": ("image: 'a/b:1'\n", f"image: '{NEW}'\n"),
    "double quotes": ('image: "a/b:1"\n', f'image: "{NEW}"\n'),
    "flow": ("{image: a/b:1, x: [1]}", f"{{image: {NEW}, x: [1]}}"),
    "flow without blanks": ('{"image":"a/b:1","x":1}', f'{{"image":"{NEW}","x":1}}'),
    "crlf": ("image: a/b:1\r\nx: 1\r\n", f"image: {NEW}\r\nx: 1\r\n"),
    "crlf before it": ("x: 1\r\ny: 2\r\nimage: a/b:1\r\n", f"x: 1\r\ny: 2\r\nimage: {NEW}\r\n"),
    "no newline at the end": ("image: a/b:1", f"image: {NEW}"),
    "two boms": ("\ufeff\ufeffimage: a/b:1\n", f"\ufeff\ufeffimage: {NEW}\n"),
    "bom": ("\ufeffimage: a/b:1\n", f"\ufeffimage: {NEW}\n"),
    "beyond the BMP before it": ('x: "😀"\nimage: a/b:1\n', f'x: "😀"\nimage: {NEW}\n'),
    "anchor": ("image: &i a/b:1\nx: 1", f"image: &i {NEW}\nx: 1"),
    "anchor and tag": ('image: !!str &i "a/b:1"\n', f'image: !!str &i "{NEW}"\n'),
    "anchor, comment, next line": ("image: &i # why\n  a/b:1\n", f"image: &i # why\n  {NEW}\n"),
    "literal block": ("image: |\n  a/b:1\nx: 1\n", f"image: {NEW}\nx: 1\n"),
    "folded block": ("image: >-\n  a/b:1\n\nx: 1\n", f"image: {NEW}\n\nx: 1\n"),
    "block with a comment": ("image: >- # why\n  a/b:1\nx: 1\n", f"image: {NEW} # why\nx: 1\n"),
    "block at the end": ("image: |-\n  a/b:1", f"image: {NEW}"),
    "block below its key": ("image:\n>-\n a/b:1\nx: 1\n", f"image:\n {NEW}\nx: 1\n"),
    "block below its tag": ("image: !!str\n|-\n a/b:1\nx: 1\n", f"image: !!str\n {NEW}\nx: 1\n"),
    "tag and half of a character": ('image: !!str "\\ud80b"\n', f'image: !!str "{NEW}"\n'),
    "plain over two lines": ("image: a/b\n  c\nx: 1\n", f"image: {NEW}\nx: 1\n"),
    "on the marker's line": ("--- {image: a/b:1}\n", f"--- {{image: {NEW}}}\n"),
    "anchor that nobody else uses, star elsewhere": ("image: &i a/b:1\nx: '*'", f"image: &i {NEW}\nx: '*'"),
}


@pytest.mark.parametrize("name", STYLES)
def test_only_the_scalar_changes(name: str) -> None:
    before, after = STYLES[name]
    assert edited(before, {"/image": NEW}) == after


@pytest.mark.parametrize(
    ("new", "written"),
    [("1.10", '"1.10"'), ("no", '"no"'), ("22:22", '"22:22"'), ("a: b", '"a: b"'), ("", '""'), ("a\u2028b", '"a\\u2028b"')],
)  # fmt: skip
def test_what_would_not_stay_a_text_gets_quotes(new: str, written: str) -> None:
    assert edited("image: a", {"/image": new}) == f"image: {written}"


SHARED = {
    "all users agree: at the anchor": ("a: &i x/y:1\nb: *i", {"/a": NEW, "/b": NEW}, f"a: &i {NEW}\nb: *i"),
    "alias differs: a literal": ("a: &i x/y:1\nb: *i # why", {"/a": NEW, "/b": "x/y:1"}, f'a: &i {NEW}\nb: "x/y:1" # why'),
    "only the alias changes": ("a: &i x/y:1\nb: *i", {"/b": NEW}, f'a: &i x/y:1\nb: "{NEW}"'),
    "only the anchor changes": ("a: &i x/y:1\nb: *i", {"/a": NEW}, f'a: &i {NEW}\nb: "x/y:1"'),
    "aliases in flow": ("[&i x/y:1,*i]", {"/1": NEW}, f'[&i x/y:1,"{NEW}"]'),
    "larger part, users agree": ("a: &m {i: x}\nb: *m", {"/a/i": NEW, "/b/i": NEW}, f"a: &m {{i: {NEW}}}\nb: *m"),
    "merged in, its own place follows": ("a: &m {i: x}\nb: {<<: *m}", {"/b/i": NEW}, f"a: &m {{i: {NEW}}}\nb: {{<<: *m}}"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_shared_values(name: str) -> None:
    before, edits, after = SHARED[name]
    assert edited(before, edits) == after


@pytest.mark.parametrize(
    ("text", "edits", "message"),
    [
        ("a: &m {i: x}\nb: *m", {"/a/i": "x", "/b/i": NEW}, "f.yaml:1:11: this value is used in several places"),
        ("a: &m {i: x}\nb: {<<: *m}\nc: *m", {"/b/i": NEW, "/c/i": "z"}, "f.yaml:1:11: this value is used in several"),
        ("a: &x v\nb: &m {i: *x}\nc: *m", {"/b/i": NEW}, "f.yaml:1:4: this value is used in several places"),
        ("a: [1]", {"/a": NEW}, "f.yaml:1:4: no text stands at /a"),
        ("a:\nb: 1", {"/a": NEW}, "f.yaml:1:3: no text stands at /a"),
        ("a: !!str\nb: 1", {"/a": NEW}, "f.yaml:1:4: no text stands at /a"),
        ("a: &a\nb: 1", {"/a": NEW}, "f.yaml:1:4: no text stands at /a"),
    ],
)
def test_refuses_what_it_cannot_write(text: str, edits: dict[str, str], message: str) -> None:
    with pytest.raises(BadDocument) as caught:
        edited(text, edits)
    assert str(caught.value).startswith(message)


def test_documents_of_one_file_are_changed_together() -> None:
    text = "\ufeff# one\nimage: a\n---\nimage: [\n---\nimage: c\n"
    found = [
        change
        for document in documents(text, "f")
        if isinstance(document, Document)
        for change in splice(document, {"/image": NEW})
    ]
    assert apply(text, reversed(found)) == f"\ufeff# one\nimage: {NEW}\n---\nimage: [\n---\nimage: {NEW}\n"


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SAFE = st.from_regex(r"[a-z][a-z0-9./:-]{0,12}[a-z0-9]", fullmatch=True)
FORMS = {
    "plain": "{0}  # kept",
    "single": "'{0}'  # kept",
    "double": '"{1}"  # kept',
    "anchored": "&a{2} {0}  # kept",
    "tagged": '!!str "{1}" # kept',
    "literal": "|-  # kept\n    {0}",
}
SCALARS = st.one_of(
    st.tuples(SAFE, st.sampled_from(list(FORMS))), st.tuples(TEXTS, st.sampled_from(["double", "tagged"]))
)


def row(number: int, value: str, form: str) -> str:
    escaped = "".join(one if " " <= one <= "~" and one not in '"\\' else f"\\U{ord(one):08x}" for one in value)
    return f"  k{number}: " + FORMS[form].format(value, escaped, number)


@many(80)
@given(
    scalars=st.lists(SCALARS, min_size=1, max_size=6),
    new=st.lists(st.one_of(st.none(), SAFE, TEXTS), min_size=6, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    final=st.booleans(),
)
def test_exactly_the_wanted_values_change_and_nothing_around_them(
    scalars: list[tuple[str, str]], new: list[str | None], end: str, bom: bool, final: bool
) -> None:
    rows = [row(number, *scalar) for number, scalar in enumerate(scalars)]
    text = ("\ufeff" if bom else "") + ("😀:\n" + "\n".join(rows) + ("\n" if final else "")).replace("\n", end)
    (document,) = documents(text, "f")
    assert isinstance(document, Document)
    before = document.value(scalars="text")["😀"]
    edits = {f"/😀/k{number}": value for number, value in enumerate(new) if value is not None and number < len(scalars)}
    after = apply(text, splice(document, edits))
    (again,) = documents(after, "f")
    assert isinstance(again, Document)
    wanted = {key: edits.get(f"/😀/{key}", value) for key, value in before.items()}
    assert again.value(scalars="text")["😀"] == wanted
    # Each key still stands in a line of its own, with its comment, and the lines end as they did.
    lines = [line for line in after.removeprefix("\ufeff").split(end) if line.startswith("  k")]
    assert [line.partition(":")[0].strip() for line in lines] == list(before)
    assert all(line.endswith("# kept") for line in lines)
    assert after.startswith("\ufeff") == bom
    assert after.endswith(end) == final
    for line, old, value in zip(lines, rows, before, strict=True):
        if f"/😀/{value}" not in edits:
            assert line == old.split("\n")[0]
