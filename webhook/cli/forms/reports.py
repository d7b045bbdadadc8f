"""Forms that other programs show: JUnit XML, SARIF 2.1.0, annotations of a forge's CI."""

import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from webhook import __version__
from webhook.cli.common import pretty
from webhook.cli.forms import Checked, Result, results_of
from webhook.core.decision import Action, Decision
from webhook.core.reason import MEANING, Reason, sentence
from webhook.document import BadDocument

LEVELS: Final = {Action.REFUSED: "error", Action.FAILED: "warning"}
UNREADABLE: Final = "Unreadable"
"""Stands where a reason would, for a document that cannot be read."""

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0, production Char: what may not stand in a document even as a reference."""


def junit(checked: Sequence[Checked]) -> str:
    """One test case an image: refused is a failure, failed an error, and so is a document that cannot be read."""
    root = Element("testsuites", name="moorage check")
    for one in checked:
        for result in one.results:
            _suite(root, result)
        for bad in one.broken:
            suite = SubElement(root, "testsuite", _attributes(name=bad.file, tests="1", failures="0", errors="1"))
            case = SubElement(
                suite, "testcase", _attributes(name=UNREADABLE, classname=bad.file, **_in_file(bad.file, bad.line))
            )
            SubElement(case, "error", _attributes(type=UNREADABLE, message=str(bad)))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, result: Result) -> None:
    counts = {"failures": Action.REFUSED, "errors": Action.FAILED}
    numbers = {name: str(sum(one.action is action for one in result.decisions)) for name, action in counts.items()}
    name = f"{result.found.source if result.found.line else result.found.subject.namespace}: {result.kind}"
    suite = SubElement(root, "testsuite", _attributes(name=name, tests=str(len(result.decisions)), **numbers))
    for one in result.decisions:
        where = _in_file(result.found.source, result.line_of(one))
        title = f"{one.slot.container}: {one.slot.text}"
        case = SubElement(suite, "testcase", _attributes(name=title, classname=result.kind, **where))
        if one.action in LEVELS:
            kind = "failure" if one.action is Action.REFUSED else "error"
            SubElement(case, kind, _attributes(type=one.reason.value, message=_message(one)))
        else:
            SubElement(case, "system-out").text = _NOT_XML.sub("\ufffd", _message(one))


def _in_file(file: str, line: int) -> dict[str, str]:
    """Where it is; nothing for what stands in no file."""
    return {"file": file, "line": str(line)} if line else {}


def _attributes(**values: str) -> dict[str, str]:
    return {name: _NOT_XML.sub("\ufffd", value) for name, value in values.items()}


def sarif(checked: Sequence[Checked]) -> str:
    """What needs attention, as results of one run."""
    rules = {**{reason.value: MEANING[reason] for reason in Reason}, UNREADABLE: "The document cannot be read."}
    driver = {
        "name": "moorage",
        "version": __version__,
        "rules": [{"id": word, "shortDescription": {"text": text}} for word, text in rules.items()],
    }
    found = [
        _found(one.reason.value, _level(one), _message(one), _place_of(result), {"startLine": result.line_of(one)})
        for result, one in _attention(results_of(checked))
    ]
    found += [
        _found(UNREADABLE, "error", bad.message, bad.file, {"startLine": bad.line, "startColumn": bad.column})
        for bad in _broken(checked)
    ]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": found}],
    }
    return pretty(log)


def _found(rule: str, level: str, text: str, file: str, region: dict[str, int]) -> dict[str, object]:
    # A relative URI (SARIF 2.1.0, 3.4.3): a path with a blank or a % in it is none before it is quoted.
    place: dict[str, object] = {
        "physicalLocation": {"artifactLocation": {"uri": quote(file)}, "region": region},
    }
    if not region["startLine"]:
        # What lives in a cluster stands in no artifact (3.33, location object).
        place = {"logicalLocations": [{"fullyQualifiedName": file, "kind": "object"}]}
    return {
        "ruleId": rule,
        "level": {"notice": "note"}.get(level, level),
        "message": {"text": text},
        "locations": [place],
    }


def github(checked: Sequence[Checked]) -> str:
    """Workflow commands that put a note beside the line."""
    lines = [
        _command(_level(one), _message(one), title=one.reason.value, file=_place_of(result), line=result.line_of(one))
        for result, one in _attention(results_of(checked))
    ]
    lines += [
        _command("error", bad.message, title=UNREADABLE, file=bad.file, line=bad.line, col=bad.column)
        for bad in _broken(checked)
    ]
    return "".join(lines)


def _command(level: str, message: str, *, title: str, file: str, line: int, **column: int) -> str:
    # actions/toolkit, packages/core/src/command.ts: a message and a property are not escaped alike.
    place: dict[str, str | int] = {"file": file, "line": line, **column} if line else {}
    told = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in {**place, "title": title}.items())
    return f"::{level} {told}::{_escaped(message if line else f'{file}: {message}')}\n"


def _place_of(result: Result) -> str:
    return result.found.source if result.found.line else result.found.place


def _escaped(text: str, more: str = "") -> str:
    return "".join(f"%{ord(one):02X}" if one in "%\r\n" or one in more else one for one in text)


def _broken(checked: Sequence[Checked]) -> Iterator[BadDocument]:
    for one in checked:
        yield from one.broken


def _attention(results: Sequence[Result]) -> Iterator[tuple[Result, Decision]]:
    silent = {Reason.NO_RULE, Reason.OPTED_OUT, Reason.PLACED}
    for result in results:
        for one in result.decisions:
            if one.reason not in silent:
                yield result, one


def _level(one: Decision) -> str:
    if one.reason in {Reason.NOT_A_REFERENCE, Reason.NAMED_BY_HAND, Reason.STALE}:
        return LEVELS.get(one.action, "warning")
    return LEVELS.get(one.action, "notice")


def _message(one: Decision) -> str:
    said = sentence(one.trace[-1]) if one.trace else MEANING[one.reason]
    arrow = f" -> {one.to}" if one.to else ""
    return f"{one.slot.text}{arrow}: {one.action.value} ({one.reason.value}): {said}"
