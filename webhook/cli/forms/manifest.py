"""The manifests themselves with their images replaced, and the difference that makes."""

from collections.abc import Sequence
from difflib import unified_diff

from webhook.cli.forms import CHANGES, Result
from webhook.cli.manifests import Source
from webhook.document import Document, apply, splice


def edited(source: Source, results: Sequence[Result]) -> str:
    """The text of one input with nothing but image scalars changed."""
    edits: dict[int, tuple[Document, dict[str, str]]] = {}
    for result in results:
        for one in result.decisions:
            # Images that stay are named too: an alias must not carry a change to them.
            document = result.found.document
            _, wanted = edits.setdefault(id(document), (document, {}))
            changes = one.action in CHANGES
            wanted[result.found.at + one.slot.pointer] = one.to if changes else one.slot.text
    return apply(source.text, [change for document, wanted in edits.values() for change in splice(document, wanted)])


def diff(source: Source, after: str) -> str:
    """A unified diff of one input."""
    before = source.text.splitlines(keepends=True)
    lines = unified_diff(before, after.splitlines(keepends=True), f"a/{source.name}", f"b/{source.name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
