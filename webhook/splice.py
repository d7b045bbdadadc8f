"""Replaces scalars of a YAML text so that every other byte survives."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from webhook.nodes import MAX_DEPTH, MAX_REPEATED, BadDocument, is_merge, is_text_when_plain, pairs, past_surrogates

if TYPE_CHECKING:
    from webhook.document import Document

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/@:+-]*[A-Za-z0-9])?", re.ASCII)
_HEADER: Final = re.compile(r"[|>][-+0-9]*(?P<comment>[ \t]+#[^\r\n]*)?")


class Change(msgspec.Struct, frozen=True):
    """A span of a file's text, in code points, and what shall stand there."""

    start: int
    end: int
    text: str


def apply(text: str, changes: Iterable[Change]) -> str:
    """The text with all changes made."""
    parts: list[str] = []
    done = 0
    for change in sorted(changes, key=lambda one: one.start):
        parts += (text[done : change.start], change.text)
        done = change.end
    return "".join([*parts, text[done:]])


def splice(document: "Document", edits: Mapping[str, str]) -> list[Change]:
    """What must change in the document's file so that the scalars at these JSON pointers have these values.

    All other values stay as they are, with one exception: a place without an entry in `edits` whose part of the
    document is used elsewhere through an alias or a merge key follows those uses. Name it in `edits`, with the value
    that it has, to be told instead.

    Raises:
        BadDocument: no scalar stands there, or one that is shared would have to have two values.
    """
    nodes = {pointer: _scalar_at(document, pointer) for pointer in edits}
    if "&" in document.text and "*" in document.text:
        uses = _uses(document)
        unique = {id(node): node for node in nodes.values()}
        found = [change for node in unique.values() for change in _shared(document, node, uses[id(node)], edits)]
    else:
        found = [
            _replacement(document.text, node, edits[pointer])
            for pointer, node in nodes.items()
            if edits[pointer] != node.value
        ]
    return [Change(document.start + one.start, document.start + one.end, one.text) for one in found]


def _scalar_at(document: "Document", pointer: str) -> ScalarNode:
    node, _ = document.find(pointer)
    spot = document.spot_of(node)
    # An anchor or a tag alone is a place in the text, and no value is written there.
    if not isinstance(node, ScalarNode) or _value_start(document.text, node) == node.end_mark.index:
        raise BadDocument(document.file, spot.line, spot.column, f"no text stands at {pointer}")
    return node


class _Use(msgspec.Struct):
    """A way to a scalar. `alias` is where an alias stands for the scalar itself, `through` whether the way leads
    through an alias or a merge key of something larger."""

    pointer: str
    alias: tuple[int, int] | None
    through: bool


def _shared(document: "Document", node: ScalarNode, uses: list[_Use], edits: Mapping[str, str]) -> Iterator[Change]:
    """The changes for a scalar that may be used in several places."""

    def wanted(use: _Use) -> str:
        return edits.get(use.pointer, node.value)

    through = {wanted(use) for use in uses if use.through}
    is_seen_through = bool(through)
    own = next((use for use in uses if use.alias is None and not use.through), None)
    new = wanted(own) if own is not None else node.value
    if through:
        # Users behind an alias of something larger see what stands at the anchor, so all have to agree.
        if len(through) > 1 or (own is not None and own.pointer in edits and through != {new}):
            raise _torn(document, node)
        new = through.pop()
    if new != node.value:
        yield _replacement(document.text, node, new)
    for use in uses:
        if use.alias is not None and wanted(use) != new:
            if is_seen_through:
                raise _torn(document, node)
            yield Change(*use.alias, _double_quoted(wanted(use)))


def _torn(document: "Document", node: ScalarNode) -> BadDocument:
    spot = document.spot_of(node)
    message = "this value is used in several places through an alias, and they would differ"
    return BadDocument(document.file, spot.line, spot.column, message)


def _replacement(text: str, node: ScalarNode, new: str) -> Change:
    """The scalar's own characters, without its anchor and tag, and what they become in the style that they have."""
    start, end = _value_start(text, node), node.end_mark.index
    old = text[start:end]
    if node.style in {"|", ">"}:
        header = _HEADER.match(old)
        comment = (header["comment"] if header is not None else None) or ""
        whole = _written(new, "") + comment + old[len(old.rstrip("\r\n")) :]
        # At the start of a line it may stand as far to the left as its key, where no other text may.
        before = text[node.start_mark.index - node.start_mark.column : start]
        lead = "" if before.rstrip(" \t")[-1:].strip() else " "
        return Change(start, end, lead + whole)
    return Change(start, end, _written(new, node.style or ""))


def _value_start(text: str, node: ScalarNode) -> int:
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    if start == end or text[start] not in "&!":
        return start
    # The mark of a node includes its anchor and its tag, that of its token does not.
    own = past_surrogates(_scalar_start, text[start:end])
    return start + own if own is not None else end


def _scalar_start(text: str) -> int | None:
    found = (token for token in yaml.scan(text, _LOADER) if isinstance(token, yaml.ScalarToken))
    return next((_index(token.start_mark) for token in found), None)


def _written(new: str, style: str) -> str:
    if style == "'" and _escaped().search(new) is None:
        return "'" + new.replace("'", "''") + "'"
    if not style and _PLAIN.fullmatch(new) and is_text_when_plain(new):
        return new
    return _double_quoted(new)


def _double_quoted(text: str) -> str:
    return _escaped().sub(lambda found: _escape(found[0]), json.dumps(text, ensure_ascii=False))


@cache
def _escaped() -> re.Pattern[str]:
    """What needs an escape. Compiled when it is first wanted: it takes as long as reading a whole configuration."""
    return re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}"


def _uses(document: "Document") -> dict[int, list[_Use]]:
    """Every way to every scalar, by the identity of its node."""
    found: dict[int, list[_Use]] = {}
    aliases = past_surrogates(_alias_marks, document.text)
    count = 0
    seen: set[int] = set()

    def visit(node: Node, pointer: str, depth: int, *, through: bool) -> None:
        nonlocal count
        count += 1
        seen.add(id(node))
        if count - len(seen) > MAX_REPEATED or depth > MAX_DEPTH:
            raise BadDocument(document.file, document.line, 1, "the document's aliases multiply")
        alias = aliases.get(pointer) if not through else None
        if isinstance(node, ScalarNode):
            found.setdefault(id(node), []).append(_Use(pointer, alias, through))
            return
        inside = through or alias is not None
        if isinstance(node, MappingNode):
            own = {id(value) for key, value in node.value if not is_merge(key)}
            for key, value in pairs(node, document.merged):
                visit(value, f"{pointer}/{_part(key)}", depth + 1, through=inside or id(value) not in own)
            return
        for index, item in enumerate(node.value):
            visit(item, f"{pointer}/{index}", depth + 1, through=inside)

    visit(document.root, "", 0, through=False)
    return found


def _part(key: Any) -> str:
    return str(getattr(key, "value", "")).replace("~", "~0").replace("/", "~1")


def _alias_marks(text: str) -> dict[str, tuple[int, int]]:
    """Where aliases stand, by the JSON pointer of the place that they fill."""
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
            self._key = _part(event)
            return None
        return f"{self._pointer}/{self._key}"
