"""Tables for people: aligned columns, no colour, no wrapping."""

from collections.abc import Sequence

from webhook.cli.forms import Result


def table(results: Sequence[Result], *, wide: bool = False) -> str:
    """One line an image."""
    head = ["OBJECT", "CONTAINER", "IMAGE", "ACTION", "REASON", "TO"]
    if wide:
        head += ["RULE", "TARGET", "SOURCE", "NAMESPACE", "WHERE"]
    rows = [head]
    for result in results:
        for one in result.decisions:
            row = [result.kind, one.slot.container, one.slot.text, one.action.value, one.reason.value, one.to or "-"]
            if wide:
                where = f"{result.found.source}:{result.line_of(one)}"
                row += [one.rule or "-", one.target or "-", one.source.value, result.found.subject.namespace, where]
            rows.append(row)
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, three blanks apart, as kubectl prints them."""
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"
