"""Forms that other programs show: JUnit XML, SARIF 2.1.0, annotations of a forge's CI."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import msgspec

from webhook import __version__
from webhook.cli.forms import Result
from webhook.core.decision import Action, Decision
from webhook.core.reason import MEANING, Reason, sentence

LEVELS = {Action.REFUSED: "error", Action.FAILED: "warning"}


def junit(results: Sequence[Result]) -> str:
    """One test case an image: refused is a failure, failed an error."""
    root = Element("testsuites", name="moorage check")
    for result in results:
        suite = SubElement(root, "testsuite", name=f"{result.found.source}: {result.kind}")
        counts = {"failures": Action.REFUSED, "errors": Action.FAILED}
        suite.set("tests", str(len(result.decisions)))
        for name, action in counts.items():
            suite.set(name, str(sum(one.action is action for one in result.decisions)))
        for one in result.decisions:
            case = SubElement(suite, "testcase", name=f"{one.slot.container}: {one.slot.text}", classname=result.kind)
            case.set("file", result.found.source)
            case.set("line", str(result.line_of(one)))
            if one.action in LEVELS:
                kind = "failure" if one.action is Action.REFUSED else "error"
                SubElement(case, kind, type=one.reason.value, message=_message(one))
            else:
                SubElement(case, "system-out").text = _message(one)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def sarif(results: Sequence[Result]) -> str:
    """What needs attention, as results of one run."""
    driver = {
        "name": "moorage",
        "version": __version__,
        "rules": [{"id": reason.value, "shortDescription": {"text": MEANING[reason]}} for reason in Reason],
    }
    found = [_result(result, one) for result, one in _attention(results)]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": found}],
    }
    return msgspec.json.format(msgspec.json.encode(log), indent=2).decode() + "\n"


def github(results: Sequence[Result]) -> str:
    """Workflow commands that put a note beside the line."""
    return "".join(
        f"::{_level(one)} file={_escaped(result.found.source)},line={result.line_of(one)},"
        f"title={_escaped(one.reason.value)}::{_escaped(_message(one))}\n"
        for result, one in _attention(results)
    )


def _attention(results: Sequence[Result]) -> Iterator[tuple[Result, Decision]]:
    silent = {Reason.NO_RULE, Reason.OPTED_OUT, Reason.PLACED}
    for result in results:
        for one in result.decisions:
            if one.reason not in silent:
                yield result, one


def _result(result: Result, one: Decision) -> dict[str, object]:
    place = {
        "artifactLocation": {"uri": result.found.source},
        "region": {"startLine": result.line_of(one)},
    }
    return {
        "ruleId": one.reason.value,
        "level": {"notice": "note"}.get(_level(one), _level(one)),
        "message": {"text": _message(one)},
        "locations": [{"physicalLocation": place}],
    }


def _level(one: Decision) -> str:
    if one.reason in {Reason.NOT_A_REFERENCE, Reason.NAMED_BY_HAND, Reason.STALE}:
        return LEVELS.get(one.action, "warning")
    return LEVELS.get(one.action, "notice")


def _message(one: Decision) -> str:
    said = sentence(one.trace[-1]) if one.trace else MEANING[one.reason]
    arrow = f" -> {one.to}" if one.to else ""
    return f"{one.slot.text}{arrow}: {one.action.value} ({one.reason.value}): {said}"


def _escaped(text: str) -> str:
    for raw, escape in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")):
        text = text.replace(raw, escape)
    return text
