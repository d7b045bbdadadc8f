"""The work of `moorage check`: read manifests, decide, print, and say how it went."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from webhook.cli import common
from webhook.cli.check import Form
from webhook.cli.exits import Exit, Stop
from webhook.cli.forms import CHANGES, Result, summary
from webhook.cli.manifests import Found, Source, objects, sources
from webhook.core.decision import Action
from webhook.document import BadDocument

if TYPE_CHECKING:
    from webhook.config import Loaded
    from webhook.wiring import Laptop

AT_ONCE = 64
LONG = 1.0
"""Seconds after which a progress bar is drawn, on a terminal."""


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


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Check everything and give the exit code: several apply, the highest wins."""
    started = time.monotonic()
    loaded = common.load(chosen)
    inputs = list(sources(wanted.paths, wanted.kustomizations, recurse=wanted.recurse))
    found, broken = _objects(inputs, wanted.namespace, loaded)
    results = asyncio.run(_decide(found, loaded, chosen, offline=wanted.offline))
    code = max(_told(broken), _print(wanted.form, inputs, results))
    if wanted.lock is not None:
        _write_lock(wanted.lock, results, is_whole=code is Exit.FINE)
    if not wanted.offline and not wanted.verbose and results:
        common.say("not known here, and left out: pull secrets, namespace labels, pins, the standing of targets")
    _summarise(results, time.monotonic() - started)
    return max(code, _code(results, changes=wanted.exit_code or wanted.form is Form.DIFF))


def _objects(inputs: Sequence[Source], namespace: str, loaded: "Loaded") -> tuple[list[Found], list[BadDocument]]:
    found: list[Found] = []
    broken: list[BadDocument] = []
    for source in inputs:
        for one in objects(source, namespace=namespace, templates=loaded.rules.templates):
            (broken if isinstance(one, BadDocument) else found).append(one)  # type: ignore[arg-type]  # sorted by type
    return found, broken


async def _decide(found: Sequence[Found], loaded: "Loaded", chosen: common.Choices, *, offline: bool) -> list[Result]:
    from webhook import wiring

    if offline:
        return await _decide_all(found, wiring.offline(loaded), chosen.timeout)
    async with wiring.laptop(
        loaded, environ=os.environ, docker_config=chosen.docker_config, warn=common.say_registry_warning
    ) as laptop:
        return await _decide_all(found, laptop, chosen.timeout)


async def _decide_all(found: Sequence[Found], laptop: "Laptop", within: float) -> list[Result]:
    """All objects under one engine; what was asked since the start counts for all, so each image is asked for once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def decide(one: Found) -> Result:
        async with places:
            deadline = asyncio.get_running_loop().time() + within
            decisions = await laptop.engine.decide(
                one.subject, deadline=deadline, since=laptop.started, may_change=one.may_change
            )
        return Result(one, decisions)

    tasks = [asyncio.ensure_future(decide(one)) for one in found]
    if tasks and sys.stderr.isatty():
        await _with_progress(tasks)
    return list(await asyncio.gather(*tasks))


async def _with_progress(tasks: Sequence["asyncio.Future[Result]"]) -> None:
    done, _ = await asyncio.wait(tasks, timeout=LONG)
    if len(done) == len(tasks):
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("checking", total=len(tasks), completed=len(done))
        for task in asyncio.as_completed(tasks):
            await task
            progress.advance(bar)


def _told(broken: Sequence[BadDocument]) -> Exit:
    for one in broken:
        common.say(f"moorage: {one}")
    return Exit.USAGE if broken else Exit.FINE


def _print(form: Form, inputs: Sequence[Source], results: Sequence[Result]) -> Exit:
    from webhook.cli.forms import machine, manifest, plain, reports

    if form in {Form.YAML, Form.DIFF}:
        return _print_manifests(form, inputs, results)
    text = {
        Form.TABLE: lambda: plain.table(results),
        Form.WIDE: lambda: plain.table(results, wide=True),
        Form.JSON: lambda: machine.json(results),
        Form.PATCH: lambda: machine.patch(results),
        Form.IMAGES: lambda: machine.images(results),
        Form.JUNIT: lambda: reports.junit(results),
        Form.SARIF: lambda: reports.sarif(results),
        Form.GITHUB: lambda: reports.github(results),
    }[form]()
    del manifest
    sys.stdout.write(text)
    return Exit.FINE


def _print_manifests(form: Form, inputs: Sequence[Source], results: Sequence[Result]) -> Exit:
    from webhook.cli.forms import manifest

    code = Exit.FINE
    first = True
    for source in inputs:
        own = [result for result in results if result.found.source == source.name]
        try:
            after = manifest.edited(source, own)
        except BadDocument as bad:
            common.say(f"moorage: {bad}")
            code = Exit.USAGE
            continue
        if form is Form.DIFF:
            sys.stdout.write(manifest.diff(source, after))
        else:
            if not first and not after.startswith("---"):
                sys.stdout.write("---\n")
            sys.stdout.write(after)
            first = False
    return code


def _write_lock(lock: Path, results: Sequence[Result], *, is_whole: bool) -> None:
    """A lock that lacks what could not be asked would lose what stood in the one before."""
    if not is_whole or any(one.action is Action.FAILED for result in results for one in result.decisions):
        common.say(f"moorage: {lock} is left as it was: not everything could be read and resolved")
        return
    from webhook.lock import key_of, written

    names = {
        key_of(one.slot.image): one.digest
        for result in results
        for one in result.decisions
        if one.digest and one.slot.image is not None and one.slot.image.digest is None
    }
    try:
        lock.write_text(written(names))
    except OSError as failed:
        raise Stop(Exit.USAGE, f"--lock {lock}: {failed.strerror}") from None


def _summarise(results: Sequence[Result], seconds: float) -> None:
    counts = summary(results)
    parts = [f"{count} {name}" for name, count in counts.items() if count and name not in {"objects", "images"}]
    seen = f"{_number(counts['objects'], 'object')}, {_number(counts['images'], 'image')}"
    common.say(f"{seen}: {', '.join(parts) or 'nothing'} ({seconds:.1f} s)")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _code(results: Sequence[Result], *, changes: bool) -> Exit:
    actions = {one.action for result in results for one in result.decisions}
    if Action.REFUSED in actions:
        return Exit.REFUSED
    if Action.FAILED in actions:
        return Exit.UNASKED
    return Exit.CHANGES if changes and actions & CHANGES else Exit.FINE
