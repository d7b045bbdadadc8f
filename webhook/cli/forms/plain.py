"""Tables for people: aligned columns, no colour, no wrapping."""

from collections.abc import Sequence

from webhook.cli.forms import Result
from webhook.core.printable import printable


def table(results: Sequence[Result], *, wide: bool = False, namespaces: bool = False) -> str:
    """One line an image; nothing at all where there is none. With `namespaces` each begins with its own, as kubectl has
    it for all of them."""
    head = ["OBJECT", "CONTAINER", "IMAGE", "ACTION", "REASON", "TO"]
    if wide:
        head += ["RULE", "TARGET", "SOURCE", "NAMESPACE", "WHERE"]
    rows = [["NAMESPACE", *head] if namespaces else head]
    for result in results:
        for one in result.decisions:
            row = [result.kind, one.slot.container, one.slot.text, one.action.value, one.reason.value, one.to or "-"]
            if wide:
                row += [one.rule or "-", one.target or "-", one.source.value, result.found.subject.namespace]
                row.append(result.place(one))
            rows.append([result.found.subject.namespace, *row] if namespaces else row)
    return aligned(rows) if len(rows) > 1 else ""


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, three blanks apart, as kubectl prints them."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[number]) for row in cells) for number in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(lines) + "\n"
