"""YAML and JSON files with the place of everything in them, so that a mistake is shown where it stands.

PyYAML's marks count code points, so text is decoded here and its BOM set aside before a position is taken.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from webhook.nodes import (
    MAX_DEPTH,
    MAX_REPEATED,
    BadDocument,
    Pairs,
    collector_paused,
    compose,
    is_merge,
    is_null,
    pairs,
    past_surrogates,
    scalar,
)

__all__ = [
    "BadDocument",
    "Document",
    "Spot",
    "collector_paused",
    "decode",
    "documents",
    "written",
]

MAX_BYTES: Final = 32 * 1024 * 1024
BOM: Final = "\ufeff"

_MARKER: Final = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
_DIRECTIVES: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*%[^\n]*\n(?:[ \t]*(?:[%#][^\n]*)?\n)*")
_UNPRINTABLE: Final = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""Not compiled before it is wanted: it takes as long as reading a whole configuration."""
_JSON: Final = json.JSONDecoder()
_BLANKS: Final = re.compile(r"(?:---)?[ \t\r\n]*")
_TAB: Final = "a tab may not indent YAML; use spaces"
_SAYINGS: Final = (
    ("tab character", _TAB),
    ("nested too deeply", "the document is nested too deeply"),
    ("cannot start any token", "a character that may not begin a value; put quotes around it"),
    ("second occurrence", "an anchor of this name stands here already"),
    ("found undefined alias", "an alias without its anchor"),
    ("mapping values are not allowed", "a colon where none may stand; indent it or put quotes around the text"),
    ("expected a single document", "more text where the document had ended"),
)


class Spot(msgspec.Struct, frozen=True):
    """A place in a file; both count from 1."""

    line: int
    column: int


class Document:
    """One document of a file: its value, and the place of everything in it.

    `text` is its part of the file and `start` where that begins there; positions of nodes count from `start`.
    """

    def __init__(self, file: str, text: str, start: int, first_line: int, root: Node) -> None:
        self.file = file
        self.text = text
        self.start = start
        self.first_line = first_line
        self.root = root
        self.merged: dict[int, Pairs] = {}
        self._children: dict[int, dict[str, tuple[Node, Node]]] = {}

    def value(
        self, *, scalars: Literal["resolved", "text"] = "resolved", twins: list[BadDocument] | None = None
    ) -> Any:
        """The document as plain values. With `scalars="text"` every scalar but null stays the text that was written,
        so that 1.10, 012 and no keep their meaning where names are wanted. Keys that stand twice go to `twins`.

        Raises:
            BadDocument: a key stands twice and there is no `twins`; a key is no text; aliases multiply without end.
        """
        with collector_paused():
            return _Reader(self, as_text=scalars == "text", twins=twins).read(self.root)

    def spot(self, pointer: str, *, of_key: bool = False) -> Spot:
        """Where the value at a JSON pointer stands, or its key; the nearest parent where there is no such value."""
        node, key = self.find(pointer)
        return self.spot_of(key if of_key and key is not None else node)

    def spot_of(self, node: Node) -> Spot:
        """Where a node of this document stands."""
        return Spot(self.first_line + node.start_mark.line, node.start_mark.column + 1)

    @property
    def line(self) -> int:
        """The line on which the document's content starts."""
        return self.first_line + int(self.root.start_mark.line)

    def find(self, pointer: str) -> tuple[Node, Node | None]:
        """The node at a JSON pointer, or the last one on the way to it, and its key if it has one."""
        node, key = self.root, None
        for part in pointer.split("/")[1:]:
            found = self._child(node, part.replace("~1", "/").replace("~0", "~"))
            if found is None:
                break
            key, node = found
        return node, key

    def _child(self, node: Node, part: str) -> tuple[Node | None, Node] | None:
        if isinstance(node, SequenceNode):
            return (None, node.value[int(part)]) if part.isdigit() and int(part) < len(node.value) else None
        if isinstance(node, MappingNode):
            known = self._children.get(id(node))
            if known is None:
                # As many mistakes as a file has keys are looked up one by one; of two equal keys the first is meant.
                inside = reversed(pairs(node, self.merged))
                known = {key.value: (key, value) for key, value in inside if isinstance(key, ScalarNode)}
                self._children[id(node)] = known
            return known.get(part)
        return None


def decode(data: bytes, file: str) -> str:
    """The text of a file, BOM included.

    Raises:
        BadDocument: too large, binary, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise BadDocument(file, 1, 1, f"the file has more than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        column = wrong.start - (data.rfind(b"\n", 0, wrong.start) + 1) + 1
        raise BadDocument(file, line, column, "the file is not UTF-8 text") from None
    if "\0" in text:
        raise BadDocument(file, *_line_and_column(text, text.index("\0")), "the file is binary")
    return text


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as they are, which is how people write them, and so does what comes twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's own signature
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def written(value: Any) -> str:
    """A value as YAML, keys in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def documents(text: str, file: str) -> Iterator[Document | BadDocument]:
    """The documents of a file in order; one that is broken does not hide the others. Empty ones are passed over."""
    line, counted = 1, 0
    for start, end in _parts(text):
        line += text.count("\n", counted, start)
        counted = start
        found = _compose(file, text[start:end], start, line)
        if found is not None:
            yield found


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Where documents begin and end. YAML lets no `---` or `...` stand at the start of a line inside one."""
    # More than one where files were put together; libyaml passes over the first and counts on from there.
    start = len(text) - len(text.lstrip(BOM))
    for marker in _MARKER.finditer(text, start):
        before = text[start : marker.start()]
        opens = marker[0] == "---"
        if opens and before.lstrip().startswith(("%", "#")) and _DIRECTIVES.fullmatch(before):
            continue  # %YAML and %TAG belong to the document that this marker opens
        yield from _objects(text, start, marker.start())
        start = marker.start() if opens else marker.end()
    yield from _objects(text, start, len(text))


def _objects(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """JSON objects may follow each other without a marker, as jq prints them and kubectl reads them."""
    # A part of its own: what is no JSON is told with its line, which is counted from the start of the text.
    part = text[start:end]
    at, done = _blanks_after(part, 0), 0
    try:
        while at < len(part) and part[at] == "{":
            at = _blanks_after(part, _JSON.raw_decode(part, at)[1])
            if at < len(part):
                yield start + done, start + at
                done = at
    except (ValueError, RecursionError):
        pass  # Flow style, or broken: composing it tells where.
    yield start + done, end


def _blanks_after(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return found.end() if found is not None else start


def _compose(file: str, part: str, start: int, line: int) -> Document | BadDocument | None:
    if not part.strip():
        return None
    try:
        root = past_surrogates(compose, part)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        place = (line + mark.line, mark.column + 1) if mark is not None else (line, 1)
        stands = part[mark.index : mark.index + 1] if mark is not None else ""
        return BadDocument(file, *place, _TAB if stands == "\t" else _saying(str(wrong.problem or wrong.context)))
    except yaml.YAMLError:
        found = re.search(_UNPRINTABLE, part)
        row, column = _line_and_column(part, found.start() if found is not None else 0)
        return BadDocument(file, line + row - 1, column, "a control character, which YAML does not allow")
    return Document(file, part, start, line, root) if root is not None else None


def _saying(problem: str) -> str:
    return next((saying for part, saying in _SAYINGS if part in problem), f"not YAML: {problem}")


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


class _Reader:
    """Nodes to values, within bounds, telling the place of what is wrong."""

    def __init__(self, document: Document, *, as_text: bool, twins: list[BadDocument] | None) -> None:
        self._document = document
        self._as_text = as_text
        self._twins = twins
        self._count = 0
        self._seen: set[int] = set()

    def read(self, node: Node, depth: int = 0) -> Any:
        self._count += 1
        self._seen.add(id(node))
        if depth > MAX_DEPTH or self._count - len(self._seen) > MAX_REPEATED:
            raise self._bad(node, "the document is nested too deeply, or its aliases multiply")
        if isinstance(node, ScalarNode):
            if self._as_text:
                return None if is_null(node) else node.value
            return scalar(node)
        if isinstance(node, MappingNode):
            return self._mapping(node, depth)
        return [self.read(item, depth + 1) for item in node.value]

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        firsts: dict[str, ScalarNode] = {}
        merges = False
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise self._bad(key, "a key must be a text")
            if is_merge(key):
                merges = True
                self._check_merged(value)
            elif key.value in found:
                self._tell_twin(firsts[key.value], key)
            else:
                firsts[key.value] = key
                found[key.value] = self.read(value, depth + 1)
        for key, value in pairs(node, self._document.merged) if merges else ():
            if key.value not in found:
                found[key.value] = self.read(value, depth + 1)
        return found

    def _check_merged(self, value: Node) -> None:
        parts = value.value if isinstance(value, SequenceNode) else [value]
        if not all(isinstance(part, MappingNode) for part in parts):
            raise self._bad(value, "only a mapping can be merged in with <<")

    def _tell_twin(self, first: ScalarNode, key: ScalarNode) -> None:
        spot = self._document.spot_of(first)
        where = f"first on line {spot.line}, column {spot.column}"
        twin = self._bad(key, f'the key "{key.value}" stands here twice; {where}')
        if self._twins is None:
            raise twin
        self._twins.append(twin)

    def _bad(self, node: Node, message: str) -> BadDocument:
        spot = self._document.spot_of(node)
        return BadDocument(self._document.file, spot.line, spot.column, message)
