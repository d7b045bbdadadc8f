"""The work of `moorage check`: read manifests, decide, print, and say how it went."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from webhook.cli import common
from webhook.cli.asking import Asking, Sent, asking
from webhook.cli.cluster import Reach, configured
from webhook.cli.exits import Exit, Stop
from webhook.cli.form import Form
from webhook.cli.forms import Checked, Result, results_of, summary, traces, warnings
from webhook.cli.manifests import Found, Input, Withheld, objects, sources
from webhook.cli.progress import Bar, done_with_bar
from webhook.core.decision import Action
from webhook.core.plan import left_alone
from webhook.core.printable import printable
from webhook.core.reason import Reason
from webhook.core.subject import TEMPLATES
from webhook.core.workload import KINDS, Resource, are_objects, guessed
from webhook.document import BadDocument, collector_paused

if TYPE_CHECKING:
    from webhook.config import Loaded

_TROUBLED = frozenset({Action.FAILED, Action.REFUSED})


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for, besides the options that every command has."""

    words: tuple[str, ...]
    files: tuple[str, ...]
    kustomizations: tuple[Path, ...]
    recurse: bool
    everywhere: bool
    selector: str
    form: Form
    lock: Path | None
    exit_code: bool
    namespace: str | None
    offline: bool
    verbose: bool
    from_cluster: bool
    server: bool
    place: common.Place


class Heard:
    """What was decided, what was sent for it, what is wrong with logins, and whose pull secrets could not be read.

    No Struct, because asyncio prints what its main task gave to a message that nobody reads: seconds, for thousands.
    """

    def __init__(
        self,
        checked: list[Checked],
        sent: list[Sent],
        problems: tuple[str, ...],
        unread: frozenset[str] | None = None,
    ) -> None:
        self.checked = checked
        self.sent = sent
        self.problems = problems
        self.unread = unread

    @property
    def results(self) -> list[Result]:
        """All objects, in the order of the inputs."""
        return results_of(self.checked)


class Call:
    """One call: what was asked for, with what it turned out to need."""

    def __init__(self, wanted: Wanted, chosen: common.Choices, reach: Reach, loaded: "Loaded | None") -> None:
        self.wanted = wanted
        self.chosen = chosen
        self.reach = reach
        self.loaded = loaded
        self.templates: Mapping[str, str] = loaded.rules.templates if loaded is not None else TEMPLATES
        self.is_live = self._is_live()
        if wanted.server and wanted.offline:
            raise Stop(Exit.USAGE, "--server asks the cluster, which asks registries: it cannot be --offline")

    @property
    def asks_cluster(self) -> bool:
        """Whether a cluster is asked for anything."""
        return self.is_live or self.wanted.from_cluster or self.wanted.server

    @property
    def namespace(self) -> str:
        """Of what names none itself."""
        return self.wanted.namespace or (self.reach.namespace if self.asks_cluster else "default")

    @property
    def kinds(self) -> tuple[Resource, ...]:
        """The kinds that words may name."""
        return (*KINDS, *guessed(self.templates))

    def _is_live(self) -> bool:
        wanted = self.wanted
        from_files = bool(wanted.files or wanted.kustomizations)
        if wanted.words:
            # A file that is there goes before a kind of its name.
            is_file = wanted.words[0] == "-" or Path(wanted.words[0]).exists()
            is_named = wanted.everywhere or bool(wanted.selector) or are_objects(wanted.words, self.kinds)
            is_live = not is_file and is_named
            from_files = from_files or not is_live
        else:
            is_live = wanted.namespace is not None and not from_files
        if from_files and (is_live or wanted.everywhere or wanted.selector):
            raise Stop(Exit.USAGE, "files and live objects are two things: check them in two calls")
        return is_live or wanted.everywhere or bool(wanted.selector)


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Check everything and give the exit code: several apply, the highest wins."""
    # What is read is kept to the end; the collector would walk it again and again: half of the time for thousands.
    with collector_paused(), Reach(wanted.place) as reach, _configured(wanted, chosen, reach) as loaded:
        return _run(Call(wanted, chosen, reach, loaded))


@contextmanager
def _configured(wanted: Wanted, chosen: common.Choices, reach: Reach) -> Iterator["Loaded | None"]:
    """The configuration; None where the cluster decides and there is none here."""
    with_lock = wanted.lock is None
    if wanted.server and not wanted.from_cluster:
        yield common.load(chosen, with_lock=with_lock, is_needed=False)
    else:
        with configured(reach, chosen, from_cluster=wanted.from_cluster, with_lock=with_lock) as loaded:
            yield loaded


def _run(call: Call) -> Exit:
    started = time.monotonic()
    wanted = call.wanted
    inputs = _live_inputs(call) if call.is_live else _read_all(call)
    heard = asyncio.run(_decide(inputs, call))
    text, torn = _printed(wanted, heard.checked)
    broken = [*(bad for one in inputs for bad in one.broken), *torn]
    if wanted.lock is not None:
        _write_lock(wanted.lock, heard.results, is_whole=not broken)
    common.put(text)
    _tell(call, heard, broken)
    if wanted.verbose:
        _tell_more(call, inputs, heard)
    _summarise(heard.results, sum(len(one.passed) for one in inputs), time.monotonic() - started)
    code = _code(heard.results, changes=wanted.exit_code or wanted.form is Form.DIFF)
    return max([code, *(_code_of(bad) for bad in broken)])


def _read_all(call: Call) -> list[Input]:
    inputs: list[Input] = []
    count = 0
    wanted = call.wanted
    with Bar("reading") as bar:
        for source in sources((*wanted.words, *wanted.files), wanted.kustomizations, recurse=wanted.recurse):
            inputs.append(Input(source, [], [], []))
            for one in objects(source, namespace=call.namespace, templates=call.templates):
                inputs[-1].take(one)
                count += 1
                bar.show(count)
    if wanted.from_cluster:
        from webhook.cli.living import with_twins

        with_twins(call.reach.kube, inputs, call.templates, call.chosen.timeout)
    return inputs


def _live_inputs(call: Call) -> list[Input]:
    from webhook.cli import living

    wanted = call.wanted
    named = living.wanted(wanted.words, call.templates, selector=wanted.selector, everywhere=wanted.everywhere)
    namespace = "" if wanted.everywhere else call.namespace
    within = call.chosen.timeout
    inputs = living.inputs(living.look(call.reach.kube, named, call.templates, namespace, wanted.selector, within))
    if not inputs:
        common.say(f"No resources found in {namespace} namespace." if namespace else "No resources found.")
    return inputs


async def _decide(inputs: Sequence[Input], call: Call) -> Heard:
    found = [one for each in inputs for one in each.found]
    loaded, wanted = call.loaded, call.wanted
    if wanted.server or loaded is None:
        from webhook.cli.dryrunning import answers

        heard = await answers(found, call.reach.kube, call.templates, call.chosen.timeout)
        return Heard(_checked(inputs, heard), [], ())
    cluster = call.reach.cluster if call.asks_cluster else None
    async with asking(loaded, call.chosen, offline=wanted.offline, cluster=cluster) as asked:
        results = await _decide_all(found, asked, call.chosen.timeout)
        return Heard(_checked(inputs, results), asked.sent, asked.problems, asked.unread)


def _checked(inputs: Sequence[Input], results: Sequence[Result | Withheld]) -> list[Checked]:
    """Each input with its results, which come in the order of the inputs; what was withheld is broken."""
    coming = iter(results)
    checked: list[Checked] = []
    for one in inputs:
        own = [next(coming) for _ in one.found]
        one.broken.extend(result for result in own if isinstance(result, Withheld))
        good = [result for result in own if isinstance(result, Result)]
        checked.append(Checked(one.source, good, one.broken))
    return checked


async def _decide_all(found: Sequence[Found], asked: Asking, within: float) -> list[Result]:
    """All objects under one engine; what was asked since the start counts for all, so each image is asked for once."""
    engine, since = asked.laptop.engine, asked.laptop.started

    async def decide(one: Found) -> Result:
        if one.unseen:
            return Result(one, left_alone(one.subject, one.unseen))
        deadline = asyncio.get_running_loop().time() + within
        decided = engine.decide(
            one.subject, deadline=deadline, since=since, may_change=one.may_change, rollout=one.rollout
        )
        return Result(one, await decided)

    return await done_with_bar("checking", map(decide, found))


def _printed(wanted: Wanted, checked: Sequence[Checked]) -> tuple[str, list[BadDocument]]:
    """The text for standard output, and the documents that cannot be written in this form."""
    match form := wanted.form:
        case Form.TABLE | Form.WIDE:
            from webhook.cli.forms import plain

            table = plain.table(results_of(checked), wide=form is Form.WIDE, namespaces=wanted.everywhere)
            return table, []
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


def _tell(call: Call, heard: Heard, broken: Iterable[BadDocument]) -> None:
    """What a person has to know: what is broken, what did not go well, and what could not be known."""
    wanted = call.wanted
    for bad in broken:
        common.say(printable(str(bad)))
    for warning in warnings(heard.results):
        common.say(printable(warning))
    if wanted.verbose or any(one.action in _TROUBLED for result in heard.results for one in result.decisions):
        for problem in heard.problems:
            common.say(f"warning: {printable(problem)}")
    if heard.results and not wanted.server:
        unknown = common.unknown(in_cluster=call.asks_cluster, unread=heard.unread)
        common.say(f"offline, no digest was asked for; {unknown}" if wanted.offline else unknown)
        if call.asks_cluster and not call.reach.knows_seals:
            common.say(common.HINTS)


def _tell_more(call: Call, inputs: Sequence[Input], heard: Heard) -> None:
    """What helps to find out why."""
    if call.loaded is not None:
        common.say(f"configuration: {call.loaded.path or '--rule'}")
    if call.asks_cluster:
        common.say(f"cluster: {call.reach.kube.host}")
    for one in inputs:
        for passed in one.passed:
            common.say(f"{passed.source}:{passed.line}: {printable(passed.kind) or 'no kind'}: passed over")
    for line in traces(heard.results):
        common.say(printable(line))
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
    decisions = [one for result in results for one in result.decisions]
    actions = {one.action for one in decisions}
    if Action.REFUSED in actions:
        return Exit.REFUSED
    if Action.FAILED in actions or any(note[0] is Reason.CLUSTER_NOT_ASKED for one in decisions for note in one.trace):
        return Exit.UNASKED
    return Exit.CHANGES if changes and any(result.changes for result in results) else Exit.FINE


def _code_of(bad: BadDocument) -> Exit:
    return Exit.UNASKED if isinstance(bad, Withheld) and not bad.was_asked else Exit.USAGE
