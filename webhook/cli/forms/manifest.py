"""The manifests themselves with their images replaced, and the difference that makes."""

import re
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from typing import Final

from webhook.cli.forms import Checked, Result
from webhook.document import BOM, BadDocument, Document, apply, splice

_DIRECTIVE: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*%")


def stream(checked: Sequence[Checked]) -> tuple[str, list[BadDocument]]:
    """All inputs as one YAML stream, with nothing but image scalars changed; and what could not be written."""
    torn: list[BadDocument] = []
    parts: list[str] = []
    for _, after in _edited(checked, torn):
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
    return "".join(line for one, after in _edited(checked, torn) for line in _diff(one, after)), torn


def _diff(one: Checked, after: str) -> Iterator[str]:
    name = one.source.name
    for line in unified_diff(_lines(one.source.text), _lines(after), f"a/{name}", f"b/{name}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    """Lines as diff and patch know them. `splitlines` also breaks at signs that are no ends of lines to those."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _edited(checked: Sequence[Checked], torn: list[BadDocument]) -> Iterator[tuple[Checked, str]]:
    for one in checked:
        if one.source.trouble is not None:
            continue
        try:
            yield one, edited(one.source.text, one.results)
        except BadDocument as bad:
            torn.append(bad)


def edited(text: str, results: Sequence[Result]) -> str:
    """The text of one input with nothing but image scalars changed.

    Raises:
        BadDocument: an image is shared through an alias by places that would differ.
    """
    edits: dict[int, tuple[Document, dict[str, str]]] = {}
    for result in results:
        found = result.found
        _, wanted = edits.setdefault(id(found.document), (found.document, {}))
        # Images that stay are named too: an alias must not carry a change to them.
        wanted |= {found.at + slot.pointer: slot.text for slot in found.subject.slots}
        wanted |= {found.at + pointer: new for pointer, new in result.changes}
    return apply(text, [change for document, wanted in edits.values() for change in splice(document, wanted)])
