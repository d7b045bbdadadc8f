"""The manifests themselves with their images replaced, and the difference that makes. A live object is written out as
the API server gives it."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Any, Final, Literal

import msgspec

from webhook.cli.forms import Checked, Result
from webhook.document import BOM, BadDocument, Document, documents, written
from webhook.splice import Change, apply, splice

_DIRECTIVE: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*%")
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
"""A line as diff and patch know it; `splitlines` breaks at other signs too."""

Opcode = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]


def stream(checked: Sequence[Checked]) -> tuple[str, list[BadDocument]]:
    """All inputs as one YAML stream, with nothing but image scalars changed; and what could not be written."""
    torn: list[BadDocument] = []
    parts: list[str] = []
    for one, changes in _changes(checked, torn):
        after = apply(one.source.text, changes)
        if not parts:
            parts.append(after)
        elif text := after.removeprefix(BOM):
            parts += (_between(parts[-1], text), text)
    return "".join(parts), torn


def _between(before: str, after: str) -> str:
    """What keeps two files apart in one stream. A directive may only follow the mark that ends a document."""
    line = "" if not before or before.endswith("\n") else "\n"
    if _DIRECTIVE.match(after):
        return f"{line}...\n"
    return line if after.startswith("---") or not before else f"{line}---\n"


def diffs(checked: Sequence[Checked]) -> tuple[str, list[BadDocument]]:
    """Unified diffs of all inputs that change; and what could not be written."""
    torn: list[BadDocument] = []
    lines = [
        line for one, changes in _changes(checked, torn) for line in unified(one.source.name, one.source.text, changes)
    ]
    return "".join(lines), torn


def unified(name: str, text: str, changes: Sequence[Change]) -> Iterator[str]:
    """The lines of a unified diff of what these changes do to a text. None takes the end of its last line away.

    What changes is known, so nothing has to be searched for: for a file of 2,000 manifests that takes half a minute.
    """
    before, after = _LINE.findall(text), _LINE.findall(apply(text, changes))
    for number, group in enumerate(_Known(list(_opcodes(text, before, changes))).get_grouped_opcodes(3)):
        if number == 0:
            yield from (f"--- a/{name}\n", f"+++ b/{name}\n")
        (_, old, _, new, _), (_, _, old_end, _, new_end) = group[0], group[-1]
        yield f"@@ -{_range(old, old_end)} +{_range(new, new_end)} @@\n"
        for kind, old, old_end, new, new_end in group:
            marked = [(" " if kind == "equal" else "-", line) for line in before[old:old_end]]
            marked += [("+", line) for line in after[new:new_end]] if kind != "equal" else []
            for mark, line in marked:
                yield f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


class _Known(SequenceMatcher[str]):
    """Knows what is different without looking; groups it with the lines around it."""

    def __init__(self, opcodes: list[Opcode]) -> None:
        super().__init__()
        self._known = opcodes

    def get_opcodes(self) -> list[Opcode]:
        """What it was told."""
        return self._known


def _range(start: int, end: int) -> str:
    # diffutils: a range of one line is written by its number alone, an empty one by that of the line before it.
    count = end - start
    return f"{start + 1}" if count == 1 else f"{start + (count > 0)},{count}"


def _opcodes(text: str, lines: Sequence[str], changes: Sequence[Change]) -> Iterator[Opcode]:
    """What becomes of which lines, as difflib tells it."""
    starts = list(accumulate(map(len, lines), initial=0))
    old = shift = 0
    for first, last, inside in _blocks(starts, changes):
        if old < first:
            yield "equal", old, first, old + shift, first + shift
        begin, end = starts[first], starts[last]
        moved = [Change(one.start - begin, one.end - begin, one.text) for one in inside]
        count = len(_LINE.findall(apply(text[begin:end], moved)))
        yield "replace", first, last, first + shift, first + shift + count
        old, shift = last, shift + count - (last - first)
    if old < len(lines):
        yield "equal", old, len(lines), old + shift, len(lines) + shift


def _blocks(starts: Sequence[int], changes: Sequence[Change]) -> Iterator[tuple[int, int, list[Change]]]:
    """Runs of lines that change, with the changes in them: first line, line after the last one, counted from 0."""
    run: tuple[int, int, list[Change]] | None = None
    for change in sorted(changes, key=lambda one: one.start):
        first = bisect_right(starts, change.start) - 1
        last = bisect_right(starts, max(change.start, change.end - 1))
        if run is not None and first <= run[1]:
            run = (run[0], last, [*run[2], change])
            continue
        if run is not None:
            yield run
        run = (first, last, [change])
    if run is not None:
        yield run


def _changes(checked: Sequence[Checked], torn: list[BadDocument]) -> Iterator[tuple[Checked, list[Change]]]:
    for one in checked:
        if one.source.trouble is not None:
            continue
        try:
            shown = _as_text(one)
            yield shown, changes_of(shown.results)
        except BadDocument as bad:
            torn.append(bad)


def _as_text(one: Checked) -> Checked:
    """A live object as `kubectl get -o yaml` shows it: it stands in no file."""
    if not any(result.found.document is None for result in one.results):
        return one
    (result,) = one.results
    text = written(_in_order(result.found.manifest))
    (document,) = documents(text, one.source.name)
    if isinstance(document, BadDocument):
        raise document
    found = msgspec.structs.replace(result.found, document=document)
    source = msgspec.structs.replace(one.source, text=text)
    return Checked(source, [msgspec.structs.replace(result, found=found)], one.broken)


def _in_order(value: Any) -> Any:
    """With keys in the order of the alphabet, as kubectl prints them."""
    if isinstance(value, Mapping):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(one) for one in value] if isinstance(value, list) else value


def changes_of(results: Sequence[Result]) -> list[Change]:
    """What has to change in the text of one input: image scalars, and nothing else.

    Raises:
        BadDocument: an image is shared through an alias by places that would differ.
    """
    edits: dict[int, tuple[Document, dict[str, str]]] = {}
    for result in results:
        found = result.found
        if found.document is None:
            continue
        _, wanted = edits.setdefault(id(found.document), (found.document, {}))
        # Images that stay are named too: an alias must not carry a change to them.
        wanted |= {found.at + slot.pointer: slot.text for slot in found.subject.slots}
        wanted |= {found.at + pointer: new for pointer, new in result.changes}
    return [change for document, wanted in edits.values() for change in splice(document, wanted)]
