"""The work of `moorage adopt`: look at living rollouts, show what there is to do, and do it where that was asked for."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from webhook import wiring
from webhook.adopter import Adopter, Report, survey, told
from webhook.cli import common
from webhook.cli.cluster import access, connect
from webhook.cli.exits import Exit, Stop
from webhook.cli.forms.plain import aligned
from webhook.core.adoption import WRITES, Adopted, Verdict
from webhook.core.reason import UNRESOLVED
from webhook.kube import Kube, ListBroke

if TYPE_CHECKING:
    from webhook.config import Loaded

OPEN: Final = frozenset({Verdict.GONE, Verdict.DISAGREE, Verdict.UNKNOWN})
"""What stays for a person to look at."""


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for. `interval` in seconds."""

    namespace: str
    yes: bool
    watch: bool
    newest: bool
    interval: float
    as_json: bool
    kubeconfig: Path | None
    context: str | None
    seal_key_file: Path | None
    ops_listen: str
    lease_namespace: str


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Look, print, write, and give the exit code."""
    if wanted.watch:
        return _watch(wanted, chosen)
    loaded = common.load(chosen)
    kube = connect(wanted.kubeconfig, wanted.context)
    try:
        reports = asyncio.run(_once(wanted, loaded, chosen, kube))
    except ListBroke as broke:
        raise Stop(Exit.UNASKED, f"{broke}; is the account allowed to list it?") from None
    finally:
        kube.close()
    common.put(common.pretty(_data(reports)) if wanted.as_json else _table(reports))
    _summarise(reports, wanted)
    is_troubled = any(report.trouble or any(map(_unasked, report.adopted)) for report in reports)
    return Exit.UNASKED if is_troubled else Exit.FINE


def _watch(wanted: Wanted, chosen: common.Choices) -> Exit:
    """The same again and again, until SIGTERM."""
    import gc

    import uvloop

    from webhook.config import BadConfiguration
    from webhook.cores import leave_none
    from webhook.listening import CannotServe
    from webhook.tending import Options, Tending

    options = Options(
        access=access(wanted.kubeconfig, wanted.context),
        namespace=wanted.namespace,
        newest=wanted.newest,
        interval=wanted.interval,
        ops_listen=wanted.ops_listen,
        lease_namespace=wanted.lease_namespace,
        config=chosen.config,
        rules=chosen.rules,
        variables=chosen.variables,
        seal_key_file=wanted.seal_key_file,
    )
    gc.enable()
    leave_none()
    try:
        uvloop.run(Tending(options, environ=os.environ).run())
    except BadConfiguration as bad:
        raise Stop(Exit.USAGE, str(bad), has_place=True) from None
    except (CannotServe, ValueError) as bad:
        raise Stop(Exit.USAGE, str(bad)) from None
    except OSError as failed:
        raise Stop(
            Exit.USAGE, f"cannot listen at {failed.filename or 'a port'}: {failed.strerror}; is it taken?"
        ) from None
    return Exit.FINE


async def _once(wanted: Wanted, loaded: "Loaded", chosen: common.Choices, kube: Kube) -> list[Report]:
    try:
        sealer = wiring.sealer_from(wanted.seal_key_file)
    except ValueError as bad:
        raise Stop(Exit.USAGE, f"--seal-key-file {bad}") from None
    cluster = wiring.Cluster(kube, sealer)
    async with (
        aclosing(cluster),
        wiring.laptop(
            loaded,
            environ=os.environ,
            docker_config=chosen.docker_config,
            warn=common.say_registry_warning,
            cluster=cluster,
        ) as laptop,
    ):
        adopter = Adopter(
            kube,
            laptop.engine,
            loaded.rules,
            sealer,
            now=wiring.CLOCKS.monotonic,
            wall=wiring.CLOCKS.wall,
            knows_seals=wanted.seal_key_file is not None,
        )
        reports = await adopter.look(await survey(kube, wanted.namespace), newest=wanted.newest)
        if not wanted.yes:
            return reports
        done = [await adopter.write(report) for report in reports]
        for report in done:
            for one in report.gone:
                if why := await adopter.tell(report.living, one):
                    common.say(f"moorage: no Event about {one.name}, whose digest is gone: {why}")
        return done


def _table(reports: Sequence[Report]) -> str:
    rows = [["NAMESPACE", "REVISION", "IMAGE", "VERDICT", "DIGEST", "FROM"]]
    for report in reports:
        revision = report.living.revision
        for one in report.adopted:
            name = f"{revision.kind}/{revision.name}"
            rows.append([revision.namespace, name, one.name, one.verdict.value, one.digest or "-", one.source or "-"])
    return aligned(rows)


def _data(reports: Sequence[Report]) -> dict[str, Any]:
    items = [
        {
            "kind": report.living.revision.kind,
            "namespace": report.living.revision.namespace,
            "name": report.living.revision.name,
            "images": [_image(one) for one in report.adopted],
            "trouble": report.trouble or None,
        }
        for report in reports
    ]
    return {"apiVersion": "moorage.dev/v1alpha1", "kind": "AdoptResult", "items": items}


def _image(one: Adopted) -> dict[str, Any]:
    return {
        "image": one.name,
        "rule": one.rule,
        "verdict": one.verdict.value,
        "digest": one.digest or None,
        "before": one.before or None,
        "source": one.source or None,
        "why": told(one) or None,
    }


def _unasked(one: Adopted) -> bool:
    """Whether a registry should have been asked about an image, and gave no answer."""
    return any(note[0] in UNRESOLVED for note in one.notes)


def _summarise(reports: Sequence[Report], wanted: Wanted) -> None:
    every = [one for report in reports for one in report.adopted]
    for report in reports:
        name = f"{report.living.revision.namespace}/{report.living.revision.name}"
        if report.trouble:
            common.say(f"moorage: {name}: {report.trouble}")
        for one in report.adopted:
            if one.verdict in OPEN or _unasked(one):
                common.say(f"{name}: {one.name} {one.verdict.value}{f': {told(one)}' if one.notes else ''}")
    count = sum(one.verdict in WRITES for one in every)
    done = "written" if wanted.yes else "to be written; --yes writes"
    common.say(f"{len(reports)} revisions, {len(every)} images: {count} {done}")
    if wanted.seal_key_file is None and wanted.yes and count:
        common.say(
            "warning: without --seal-key-file nobody else knows the seal: the webhook asks the registry before it "
            "believes what was written, and pins that were there are left as they are"
        )
