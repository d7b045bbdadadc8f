"""The work of `moorage check`: read manifests, decide, print, and say how it went."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from webhook.cli import common
from webhook.cli.asking import Asking, asking
from webhook.cli.check import Form
from webhook.cli.exits import Exit, Stop
from webhook.cli.forms import Checked, Result, results_of, summary, traces, warnings
from webhook.cli.manifests import Found, Passed, Source, objects, sources
from webhook.cli.progress import Bar
from webhook.core.decision import Action
from webhook.core.reason import Reason
from webhook.document import BadDocument, collector_paused

if TYPE_CHECKING:
    from webhook.config import Loaded

AT_ONCE = 64
GLANCE = 0.2
"""Seconds between two looks at how far the work is."""
UNKNOWN = "not known here: pull secrets (your logins stand in), labels of namespaces, pins, health of targets"

_TROUBLED = frozenset({Action.FAILED, Action.REFUSED})


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for, besides the options that every command has."""

    paths: tuple[str, ...]
    kustomizations: tuple[Path, ...]
    recurse: bool
    form: Form
    lock: Path | None
    exit_code: bool
    namespace: str
    offline: bool
    verbose: bool


class Input(msgspec.Struct, frozen=True):
    """One input, read: objects to decide on, documents that are broken, and those that are not ours to decide on."""

    source: Source
    found: list[Found]
    broken: list[BadDocument]
    passed: list[Passed]

    def take(self, one: Found | Passed | BadDocument) -> None:
        """Put one where it belongs."""
        match one:
            case Found():
                self.found.append(one)
            case Passed():
                self.passed.append(one)
            case BadDocument():
                self.broken.append(one)


class Heard:
    """What was decided, what was sent for it, and what is wrong with logins.

    No Struct, because asyncio prints what its main task gave to a message that nobody reads: seconds, for thousands.
    """

    def __init__(self, checked: list[Checked], asked: Asking) -> None:
        self.checked = checked
        self.sent = asked.sent
        self.problems = asked.problems

    @property
    def results(self) -> list[Result]:
        """All objects, in the order of the inputs."""
        return results_of(self.checked)


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Check everything and give the exit code: several apply, the highest wins."""
    # What is read is kept to the end; the collector would walk it again and again: half of the time for thousands.
    with collector_paused():
        return _run(wanted, chosen)


def _run(wanted: Wanted, chosen: common.Choices) -> Exit:
    started = time.monotonic()
    loaded = common.load(chosen, with_lock=wanted.lock is None)
    inputs = _read_all(wanted, loaded)
    heard = asyncio.run(_decide(inputs, loaded, chosen, offline=wanted.offline))
    text, torn = _printed(wanted.form, heard.checked)
    broken = [*(bad for one in inputs for bad in one.broken), *torn]
    if wanted.lock is not None:
        _write_lock(wanted.lock, heard.results, is_whole=not broken)
    common.put(text)
    _tell(wanted, heard, broken)
    if wanted.verbose:
        _tell_more(loaded, inputs, heard)
    _summarise(heard.results, sum(len(one.passed) for one in inputs), time.monotonic() - started)
    code = _code(heard.results, changes=wanted.exit_code or wanted.form is Form.DIFF)
    return max(code, Exit.USAGE if broken else Exit.FINE)


def _read_all(wanted: Wanted, loaded: "Loaded") -> list[Input]:
    inputs: list[Input] = []
    count = 0
    with Bar("reading") as bar:
        for source in sources(wanted.paths, wanted.kustomizations, recurse=wanted.recurse):
            inputs.append(Input(source, [], [], []))
            for one in objects(source, namespace=wanted.namespace, templates=loaded.rules.templates):
                inputs[-1].take(one)
                count += 1
                bar.show(count)
    return inputs


async def _decide(inputs: Sequence[Input], loaded: "Loaded", chosen: common.Choices, *, offline: bool) -> Heard:
    async with asking(loaded, chosen, offline=offline) as asked:
        found = [one for each in inputs for one in each.found]
        results = iter(await _decide_all(found, asked, chosen.timeout))
        checked = [Checked(one.source, [next(results) for _ in one.found], one.broken) for one in inputs]
        return Heard(checked, asked)


async def _decide_all(found: Sequence[Found], asked: Asking, within: float) -> list[Result]:
    """All objects under one engine; what was asked since the start counts for all, so each image is asked for once."""
    places = asyncio.Semaphore(AT_ONCE)
    engine, since = asked.laptop.engine, asked.laptop.started

    async def decide(one: Found) -> Result:
        async with places:
            deadline = asyncio.get_running_loop().time() + within
            decisions = await engine.decide(one.subject, deadline=deadline, since=since, may_change=one.may_change)
        return Result(one, decisions)

    tasks = [asyncio.ensure_future(decide(one)) for one in found]
    with Bar("checking", len(tasks)) as bar:
        # Drawn also while nothing comes in.
        while waiting := [task for task in tasks if not task.done()]:
            await asyncio.wait(waiting, timeout=GLANCE)
            bar.show(len(tasks) - len(waiting))
    return [task.result() for task in tasks]


def _printed(form: Form, checked: Sequence[Checked]) -> tuple[str, list[BadDocument]]:
    """The text for standard output, and the documents that cannot be written in this form."""
    match form:
        case Form.TABLE | Form.WIDE:
            from webhook.cli.forms import plain

            return plain.table(results_of(checked), wide=form is Form.WIDE), []
        case Form.JSON | Form.PATCH | Form.IMAGES:
            from webhook.cli.forms import machine

            forms = {Form.JSON: machine.json, Form.PATCH: machine.patch, Form.IMAGES: machine.images}
            return forms[form](checked), []
        case Form.YAML | Form.DIFF:
            from webhook.cli.forms import manifest

            return manifest.stream(checked) if form is Form.YAML else manifest.diffs(checked)
        case Form.JUNIT | Form.SARIF | Form.GITHUB:
            from webhook.cli.forms import reports

            forms = {Form.JUNIT: reports.junit, Form.SARIF: reports.sarif, Form.GITHUB: reports.github}
            return forms[form](checked), []


def _tell(wanted: Wanted, heard: Heard, broken: Iterable[BadDocument]) -> None:
    """What a person has to know: what is broken, what did not go well, and what could not be known."""
    for bad in broken:
        common.say(common.printable(str(bad)))
    for warning in warnings(heard.results):
        common.say(common.printable(warning))
    if wanted.verbose or any(one.action in _TROUBLED for result in heard.results for one in result.decisions):
        for problem in heard.problems:
            common.say(f"warning: {common.printable(problem)}")
    if heard.results:
        common.say(f"offline, no digest was asked for; {UNKNOWN}" if wanted.offline else UNKNOWN)


def _tell_more(loaded: "Loaded", inputs: Sequence[Input], heard: Heard) -> None:
    """What helps to find out why."""
    common.say(f"configuration: {loaded.path or '--rule'}")
    for one in inputs:
        for passed in one.passed:
            common.say(f"{passed.source}:{passed.line}: {common.printable(passed.kind) or 'no kind'}: passed over")
    for line in traces(heard.results):
        common.say(common.printable(line))
    for sent in heard.sent:
        common.say(f"sent: {sent}")


def _write_lock(lock: Path, results: Sequence[Result], *, is_whole: bool) -> None:
    """A lock that lacks what could not be asked would lose what stood in the one before."""
    decisions = [one for result in results for one in result.decisions]
    if not is_whole or any(one.action in _TROUBLED or one.reason is Reason.OFFLINE for one in decisions):
        common.say(f"moorage: {lock} is left as it was: not everything could be read and resolved")
        return
    from webhook.lock import written

    names = {
        one.slot.image.tagged: one.digest
        for one in decisions
        if one.digest and one.slot.image is not None and one.slot.image.digest is None
    }
    try:
        lock.write_text(written(names), encoding="utf-8")
    except OSError as failed:
        raise Stop(Exit.USAGE, f"--lock {lock}: {failed.strerror}") from None


def _summarise(results: Sequence[Result], passed: int, seconds: float) -> None:
    counts = summary(results)
    parts = [f"{count} {name}" for name, count in counts.items() if count and name not in {"objects", "images"}]
    seen = f"{_number(counts['objects'], 'object')}, {_number(counts['images'], 'image')}"
    actions = f": {', '.join(parts)}" if parts else ""
    others = f"; {_number(passed, 'other document')} passed over" if passed else ""
    common.say(f"{seen}{actions}{others} ({seconds:.1f} s)")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _code(results: Sequence[Result], *, changes: bool) -> Exit:
    actions = {one.action for result in results for one in result.decisions}
    if Action.REFUSED in actions:
        return Exit.REFUSED
    if Action.FAILED in actions:
        return Exit.UNASKED
    return Exit.CHANGES if changes and any(result.changes for result in results) else Exit.FINE
