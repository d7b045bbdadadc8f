import pytest

from webhook.document import MAX_BYTES, BadDocument, Document, Spot, decode, documents


def only(text: str) -> Document:
    (document,) = documents(text, "f.yaml")
    assert isinstance(document, Document)
    return document


def told(text: str) -> str:
    """What is wrong with a text, as a user sees it."""
    try:
        for document in documents(text, "f.yaml"):
            if isinstance(document, BadDocument):
                return str(document)
            document.value()
    except BadDocument as bad:
        return str(bad)
    return ""


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("1.10", 1.1),
        ("012", 10),
        ("no", False),
        ("22:22", 1342),
        ("1e3", "1e3"),
        ("0x1F", 31),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_a_scalar_keeps_its_text_where_texts_are_wanted(written: str, resolved: object) -> None:
    document = only(f"a: {written}")
    assert document.value(scalars="text") == {"a": written}
    assert document.value() == {"a": resolved}


@pytest.mark.parametrize("written", ["", "~", "null", "!!null x"])
def test_null_is_null_in_both_readings(written: str) -> None:
    assert only(f"a: {written}").value(scalars="text") == only(f"a: {written}").value() == {"a": None}


GOOD = {
    "json": ('{"a": {"b": [1, true, null, "x"]}}', {"a": {"b": [1, True, None, "x"]}}),
    "json indented with tabs": ('{\n\t"a": [\n\t\t1\n\t]\n}', {"a": [1]}),
    "quoted number": ('a: "1"', {"a": "1"}),
    "tagged text": ("a: !!str 1", {"a": "1"}),
    "alias": ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    "merge key, own keys first": ("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}", {"a": {"k": 1, "l": 2}, "b": {"l": 3, "k": 1}}),
    "list of merged mappings, first wins": ("a: &x {k: 1}\nb: &y {k: 2}\nc: {<<: [*x, *y]}", {"a": {"k": 1}, "b": {"k": 2}, "c": {"k": 1}}),
    "quoted << is a key like others": ('"<<": 1', {"<<": 1}),
    "crlf": ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    "bom": ("\ufeffa: 1", {"a": 1}),
    "directive": ("%YAML 1.1\n---\na: 1", {"a": 1}),
    "comment before the marker": ("# hello\n---\na: 1", {"a": 1}),
    "content on the marker's line": ("--- {a: 1}", {"a": 1}),
    "merges itself": ("a: &x {<<: *x, b: 1}", {"a": {"b": 1}}),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_reads(name: str) -> None:
    text, expected = GOOD[name]
    assert only(text).value() == expected


BAD = {
    "broken flow": ("a: [1\nb: 2", "f.yaml:2:2: not YAML: did not find expected ',' or ']'"),
    "tab": ("a:\n\tb: 1", "f.yaml:2:1: a tab may not indent YAML; use spaces"),
    "tab after a key": ("a: 1\n\tb: 2", "f.yaml:2:1: a tab may not indent YAML; use spaces"),
    "character that begins nothing": ("a: @x", "f.yaml:1:4: a character that may not begin a value; put quotes around it"),
    "unknown alias": ("a: *x", "f.yaml:1:4: an alias without its anchor"),
    "anchor twice": ("a: &x 1\nb: &x 2", "f.yaml:2:4: an anchor of this name stands here already"),
    "control character": ("a: 1\nb: \x08", "f.yaml:2:4: a control character, which YAML does not allow"),
    "key twice": ("a: 1\nb:\n  c: 1\n  c: 2", 'f.yaml:4:3: the key "c" stands here twice; first on line 3, column 3'),
    "key twice, quoted once": ('a: 1\n"a": 2', 'f.yaml:2:1: the key "a" stands here twice; first on line 1, column 1'),
    "key that is a list": ("? [a]\n: 1", "f.yaml:1:3: a key must be a text"),
    "merging a text in": ("<<: x", "f.yaml:1:5: only a mapping can be merged in with <<"),
    "list that holds itself": ("a: &x [*x]", "f.yaml:1:4: the document is nested too deeply, or its aliases multiply"),
    # libyaml's composer recurses in C: 200,000 brackets ended the process.
    "many brackets": ("[" * 300_000, "f.yaml:1:100: the document is nested too deeply"),
    "position after the marker": ("---\na: 1\n--- {a: 1, a: 2}", 'f.yaml:3:12: the key "a" stands here twice; first on line 3, column 6'),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_tells_what_is_wrong_and_where(name: str) -> None:
    text, message = BAD[name]
    assert told(text) == message


def laughs(kind: str) -> str:
    """A few lines in which each name stands nine times for the one before."""
    lines = ["a: &a {x: 1}"]
    lines += [f"{new}: &{new} {kind.format(','.join([f'*{old}'] * 9))}" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]  # fmt: skip
    return "\n".join(lines)


def test_aliases_that_multiply_are_refused() -> None:
    assert told(laughs("[{}]")).endswith(": the document is nested too deeply, or its aliases multiply")


def test_merge_keys_that_multiply_are_looked_through_once() -> None:
    assert only(laughs("{{<<: [{}]}}")).value()["i"] == {"x": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff", "f:1:4: the file is not UTF-8 text"),
        (b"a: 1\nb: \x00", "f:2:4: the file is binary"),
        (b"\xff\xfea\x00", "f:1:1: the file is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), "f:1:1: the file has more than 32 MiB"),
    ],
    ids=["bad byte", "nul", "utf-16", "too large"],
)
def test_refuses_files_that_are_no_text(data: bytes, message: str) -> None:
    with pytest.raises(BadDocument) as caught:
        decode(data, "f")
    assert str(caught.value) == message


def test_a_broken_document_does_not_hide_the_others() -> None:
    found = list(documents("a: 1\n---\nb: [\n---\n# nothing\n---\n\n---\nc: 3\n...\nd: 4\n", "f"))
    assert [one.value() if isinstance(one, Document) else "broken" for one in found] == [
        {"a": 1},
        "broken",
        {"c": 3},
        {"d": 4},
    ]
    assert [one.line for one in found if isinstance(one, Document)] == [1, 9, 11]


@pytest.mark.parametrize(
    ("pointer", "of_key", "expected"),
    [
        ("/spec/containers/1/image", False, Spot(7, 14)),
        ("/spec/containers/1/image", True, Spot(7, 7)),
        ("/spec/containers/1/nothing", False, Spot(6, 7)),
        ("/spec/containers/9", False, Spot(5, 5)),
        ("/spec/a~1b", False, Spot(8, 8)),
        ("", False, Spot(3, 1)),
    ],
)
def test_knows_where_values_and_keys_stand(pointer: str, of_key: bool, expected: Spot) -> None:
    text = "\ufeff# first\n---\nspec:\n  containers:\n    - name: a\n    - name: b\n      image: x\n  a/b: 1\n"
    assert only(text).spot(pointer, of_key=of_key) == expected


def test_positions_count_characters_not_bytes() -> None:
    assert only('a: "😀ä"\nb: {"😀": x}').spot("/b/😀") == Spot(2, 10)
