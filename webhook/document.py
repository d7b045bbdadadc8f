"""YAML with positions: where each value stands, and how to replace a scalar so that every other byte survives.

PyYAML's marks count code points and include anchors and tags; text is decoded here and its BOM kept aside.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_VALUES: Final = 2_000_000

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_SEPARATOR: Final = re.compile(r"^---(?=[ \t\r\n]|$)", re.MULTILINE)
_PROPERTIES: Final = re.compile(r"(?:[&!][^\s]*\s+)*")
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:+-]*[A-Za-z0-9]", re.ASCII)
_BOM: Final = "\ufeff"


class BadDocument(ValueError):
    """A document that cannot be read; says where and why. Line and column count from 1."""

    def __init__(self, file: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.file = file
        self.line = line
        self.column = column
        self.message = message


class Spot(msgspec.Struct, frozen=True):
    """A place in a file; both count from 1."""

    line: int
    column: int


class Document:
    """One YAML document of a file, with its value and the place of everything in it."""

    def __init__(self, file: str, text: str, start: int, first_line: int, root: Node) -> None:
        self.file = file
        self.text = text
        self.start = start
        self.first_line = first_line
        self.root = root

    def value(self, *, scalars: str = "resolved") -> Any:
        """The document as plain values. With `scalars="text"` every scalar but null stays the text that was written,
        so that 1.10, 012 and no keep their meaning where names are wanted."""
        return _Reader(self, as_text=scalars == "text").read(self.root)

    def spot(self, pointer: str, *, of_key: bool = False) -> Spot:
        """Where the value at a JSON pointer stands, or its key; the nearest parent where there is no such value."""
        node, key = self._walk(pointer)
        mark = (key if of_key and key is not None else node).start_mark
        return Spot(self.first_line + mark.line, mark.column + 1)

    @property
    def line(self) -> int:
        """The line on which the document's content starts."""
        return self.first_line + int(self.root.start_mark.line)

    def _walk(self, pointer: str) -> tuple[Node, Node | None]:
        node, key = self.root, None
        for part in _parts(pointer):
            found = _child(node, part)
            if found is None:
                break
            key, node = found
        return node, key


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
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadDocument(file, line, 1, "the file is binary")
    return text


def documents(text: str, file: str) -> Iterator[Document | BadDocument]:
    """The documents of a file in order; one that is broken does not hide the others. Empty ones are passed over."""
    body = 1 if text.startswith(_BOM) else 0
    starts = [body, *(found.end() for found in _SEPARATOR.finditer(text, body))]
    ends = [*(found.start() for found in _SEPARATOR.finditer(text, body)), len(text)]
    line = 1
    counted = 0
    for start, end in zip(starts, ends, strict=True):
        line += text.count("\n", counted, start)
        counted = start
        chunk = text[start:end]
        if chunk.strip():
            found = _compose(file, chunk, start, line)
            if found is not None:
                yield found


def _compose(file: str, chunk: str, start: int, line: int) -> Document | BadDocument | None:
    try:
        root = yaml.compose(chunk, _LOADER)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark or wrong.context_mark
        place = (line + mark.line, mark.column + 1) if mark is not None else (line, 1)
        return BadDocument(file, *place, _problem(wrong))
    except (yaml.YAMLError, RecursionError) as wrong:
        return BadDocument(file, line, 1, f"not YAML: {type(wrong).__name__}")
    return Document(file, chunk, start, line, root) if root is not None else None


def _problem(wrong: yaml.MarkedYAMLError) -> str:
    problem = str(wrong.problem or wrong.context or "not YAML")
    if "'\\t'" in problem:
        return "a tab may not indent YAML; use spaces"
    return problem


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _child(node: Node, part: str) -> tuple[Node | None, Node] | None:
    if isinstance(node, SequenceNode) and part.isdigit() and int(part) < len(node.value):
        return None, node.value[int(part)]
    if isinstance(node, MappingNode):
        for key, value in _pairs(node):
            if key.value == part:
                return key, value
    return None


def _pairs(node: Node) -> Iterator[tuple[Node, Node]]:
    """Key and value nodes of a mapping, merge keys resolved: what stands here goes before what is merged in."""
    own = [(key, value) for key, value in node.value if key.tag != f"{_TAG}merge"]
    yield from own
    seen = {key.value for key, _ in own if isinstance(key, ScalarNode)}
    for key, value in node.value:
        if key.tag == f"{_TAG}merge":
            for merged in value.value if isinstance(value, SequenceNode) else [value]:
                for inner_key, inner in _pairs(merged) if isinstance(merged, MappingNode) else ():
                    if inner_key.value not in seen:
                        seen.add(inner_key.value)
                        yield inner_key, inner


class _Reader:
    """Nodes to values, within bounds, telling the place of what is wrong."""

    def __init__(self, document: Document, *, as_text: bool) -> None:
        self._document = document
        self._as_text = as_text
        self._construct = SafeConstructor()
        self._count = 0

    def read(self, node: Node, depth: int = 0) -> Any:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise self._bad(node, "the document is nested too deeply, or its aliases multiply")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if isinstance(node, SequenceNode):
            return [self.read(item, depth + 1) for item in node.value]
        return self._mapping(node, depth)

    def _mapping(self, node: Node, depth: int) -> dict[str, Any]:
        seen: dict[str, Node] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise self._bad(key, "a key must be a text")
            if key.value in seen and key.tag != f"{_TAG}merge":
                first = self._document.first_line + seen[key.value].start_mark.line
                raise self._bad(key, f'the key "{key.value}" stands here twice; first on line {first}')
            seen[key.value] = key
        return {key.value: self.read(value, depth + 1) for key, value in _pairs(node)}

    def _scalar(self, node: ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if self._as_text or kind not in {"bool", "int", "float"}:
            return node.value
        try:
            return getattr(self._construct, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError):
            return node.value

    def _bad(self, node: Node, message: str) -> BadDocument:
        mark = node.start_mark
        return BadDocument(self._document.file, self._document.first_line + mark.line, mark.column + 1, message)


class _Use(msgspec.Struct):
    """A way to a scalar: its pointer, and where an alias stands for the scalar itself (start and end), if one does."""

    pointer: str
    alias: tuple[int, int] | None
    through: bool


def splice(document: Document, edits: Mapping[str, str]) -> list[tuple[int, int, str]]:
    """The replacements (start, end, new text; positions in the file's text) that give the scalars at these JSON
    pointers new values and leave every other value as it is.

    Raises:
        BadDocument: a value is shared through an alias of a larger part, and its users would have to differ.
    """
    uses = _uses(document)
    changes: list[tuple[int, int, str]] = []
    done: set[int] = set()
    for pointer in edits:
        node, _ = document._walk(pointer)  # noqa: SLF001 - the other half of this module
        if not isinstance(node, ScalarNode):
            raise KeyError(pointer)
        if id(node) not in done:
            done.add(id(node))
            changes += _changes(document, node, uses[id(node)], edits)
    return [(document.start + start, document.start + end, text) for start, end, text in changes]


def apply(text: str, changes: list[tuple[int, int, str]]) -> str:
    """The text with all replacements made."""
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _changes(
    document: Document, node: ScalarNode, uses: list[_Use], edits: Mapping[str, str]
) -> Iterator[tuple[int, int, str]]:
    def wanted(use: _Use) -> str:
        return edits.get(use.pointer, node.value)

    shared = {wanted(use) for use in uses if use.through}
    own = next((use for use in uses if use.alias is None and not use.through), None)
    new = wanted(own) if own is not None else node.value
    if shared:
        # Users behind an alias of a larger part see what stands at the anchor, so they have to agree with it. The
        # anchor's own place may follow them when nobody decided on it.
        if len(shared) > 1 or (own is not None and own.pointer in edits and shared != {new}):
            spot = document.spot(next(use.pointer for use in uses if use.through))
            raise BadDocument(
                document.file,
                spot.line,
                spot.column,
                "this value is shared through an alias and cannot be given two values",
            )
        new = shared.pop()
    if new != node.value:
        yield _replacement(document.text, node, new)
    for use in uses:
        if use.alias is not None and wanted(use) != new:
            yield (*use.alias, _quoted(wanted(use), "", flow=True))


def _replacement(text: str, node: ScalarNode, new: str) -> tuple[int, int, str]:
    start, end = node.start_mark.index, node.end_mark.index
    start = _PROPERTIES.match(text, start, end).end()  # type: ignore[union-attr]  # it matches the empty text
    old = text[start:end]
    if node.style in {"|", ">"}:
        kept = old[len(old.rstrip("\r\n")) :]
        return start, end, _quoted(new, "", flow=False) + kept
    return start, end, _quoted(new, node.style or "", flow=text[max(0, start - 1) : start] in {"[", "{", ","})


def _quoted(new: str, style: str, *, flow: bool) -> str:
    if style == "'":
        return "'" + new.replace("'", "''") + "'"
    if style == '"' or flow or _PLAIN.fullmatch(new) is None:
        return msgspec.json.encode(new).decode()
    return new


def _uses(document: Document) -> dict[int, list[_Use]]:
    """Every way to every scalar, by the identity of its node."""
    found: dict[int, list[_Use]] = {}
    aliases = _alias_marks(document.text)
    budget = [MAX_VALUES]

    def visit(node: Node, pointer: str, *, through: bool) -> None:
        budget[0] -= 1
        if budget[0] < 0:
            raise BadDocument(document.file, document.line, 1, "the document's aliases multiply")
        alias = aliases.get(pointer) if not through else None
        if isinstance(node, ScalarNode):
            found.setdefault(id(node), []).append(_Use(pointer, alias, through))
            return
        inside = through or alias is not None
        if isinstance(node, SequenceNode):
            for index, item in enumerate(node.value):
                visit(item, f"{pointer}/{index}", through=inside)
            return
        own = {id(value) for key, value in node.value if key.tag != f"{_TAG}merge"}
        for key, value in _pairs(node):
            part = str(key.value).replace("~", "~0").replace("/", "~1")
            visit(value, f"{pointer}/{part}", through=inside or id(value) not in own)

    visit(document.root, "", through=False)
    return found


def _alias_marks(text: str) -> dict[str, tuple[int, int]]:
    """Where aliases stand, by the JSON pointer of the place that they fill."""
    if "*" not in text:
        return {}
    marks: dict[str, tuple[int, int]] = {}
    stack: list[_Frame] = []
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.NodeEvent):
            pointer = stack[-1].next(event) if stack else ""
            if isinstance(event, yaml.AliasEvent) and pointer is not None:
                marks[pointer] = (_index(event.start_mark), _index(event.end_mark))
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append(_Frame(pointer or "", is_mapping=isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
    return marks


def _index(mark: Any) -> int:
    return int(mark.index)


class _Frame:
    """A collection under way in a stream of events."""

    def __init__(self, pointer: str, *, is_mapping: bool) -> None:
        self._pointer = pointer
        self._is_mapping = is_mapping
        self._count = 0
        self._key = ""

    def next(self, event: yaml.NodeEvent) -> str | None:
        """The pointer of the place that this event fills, None for a key."""
        number, self._count = self._count, self._count + 1
        if not self._is_mapping:
            return f"{self._pointer}/{number}"
        if number % 2 == 0:
            self._key = str(getattr(event, "value", "")).replace("~", "~0").replace("/", "~1")
            return None
        return f"{self._pointer}/{self._key}"


def written(value: Any) -> str:
    """A value as YAML, keys in their order."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text
