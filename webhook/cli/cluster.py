"""The cluster that a command asks: which one it is, what is installed there, and how trouble with it is told."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from webhook import wiring
from webhook.access import HOST, OWN_NAMESPACE
from webhook.cli import common
from webhook.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from types import TracebackType

    from webhook.access import Access
    from webhook.config import Loaded
    from webhook.kube import Kube

THREADS: Final = 32
"""Requests at once: a laptop may be a tenth of a second away from its cluster."""
HOME: Final = Path("~/.kube/config")


class Reach:
    """The cluster of one call, reached when it is first wanted."""

    def __init__(self, place: common.Place) -> None:
        self._place = place
        self._kube: Kube | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: "TracebackType | None"
    ) -> None:
        if self._kube is not None:
            self._kube.close()

    @property
    def kube(self) -> "Kube":
        """Who asks it.

        Raises:
            Stop: there is none.
        """
        if self._kube is None:
            self._kube = connect(self._place.kubeconfig, self._place.context)
        return self._kube

    @cached_property
    def namespace(self) -> str:
        """That of the context, or of this Pod.

        Raises:
            Stop: there is no cluster.
        """
        # Where there is none, that is what is told.
        _ = self.kube
        if is_inside(self._place.kubeconfig, self._place.context):
            return OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.is_file() else "default"
        from webhook.access import namespace_of

        return namespace_of(_file(self._place.kubeconfig), self._place.context)

    @cached_property
    def cluster(self) -> wiring.Cluster:
        """Who answers for pins and siblings.

        Raises:
            Stop: the seal keys cannot be read, or there is no cluster.
        """
        try:
            sealer = wiring.sealer_from(self._place.seal_key_file)
        except ValueError as bad:
            raise Stop(Exit.USAGE, f"--seal-key-file {bad}") from None
        return wiring.Cluster(self.kube, sealer)

    @property
    def knows_seals(self) -> bool:
        """Whether a seal of the webhook can be checked."""
        return self._place.seal_key_file is not None


def connect(kubeconfig: Path | None, context: str | None) -> "Kube":
    """Who asks the cluster.

    Raises:
        Stop: there is none.
    """
    from webhook.kube import Kube

    return Kube(access(kubeconfig, context), threads=THREADS)


def access(kubeconfig: Path | None, context: str | None) -> "Access":
    """The cluster that kubectl would ask: of --kubeconfig, $KUBECONFIG, ~/.kube/config, else the one this Pod is in.

    Raises:
        Stop: there is none.
    """
    if kubeconfig is None and not _is_configured() and HOST not in os.environ:
        raise Stop(
            Exit.USAGE, "there is no cluster to ask: give --kubeconfig, set $KUBECONFIG, or write ~/.kube/config"
        )
    from webhook.access import NoCluster, of_kubeconfig, of_pod

    try:
        if is_inside(kubeconfig, context):
            return of_pod(os.environ)
        return of_kubeconfig(_file(kubeconfig), context)
    except NoCluster as none:
        raise Stop(Exit.USAGE, str(none)) from None


def _file(kubeconfig: Path | None) -> Path | None:
    """What the library would look for when it was imported, looked for now."""
    named = os.environ.get("KUBECONFIG", "")
    return kubeconfig or (Path(named) if named else None)


def is_inside(kubeconfig: Path | None, context: str | None) -> bool:
    """Whether the cluster is the one that this Pod runs in."""
    return kubeconfig is None and context is None and HOST in os.environ and not _is_configured()


def _is_configured() -> bool:
    """Whether there is a kubeconfig where kubectl looks for one."""
    files = [Path(one) for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    return any(one.is_file() for one in files or [HOME.expanduser()])


@contextmanager
def configured(
    reach: Reach, chosen: common.Choices, *, from_cluster: bool, with_lock: bool = True
) -> Iterator["Loaded"]:
    """The configuration that is installed in the cluster, or that of this machine.

    Raises:
        Stop: there is none, or it cannot be used.
    """
    if from_cluster:
        with _installed(reach, chosen, with_lock=with_lock) as loaded:
            yield loaded
    else:
        yield common.load(chosen, with_lock=with_lock)


@contextmanager
def _installed(reach: Reach, chosen: common.Choices, *, with_lock: bool) -> Iterator["Loaded"]:
    """The configuration that the cluster's own webhook uses, `--set` and `--rule` over it, for as long as the block
    lasts.

    Raises:
        Stop: Moorage is not installed there, or its configuration cannot be used.
    """
    from webhook.config import BadConfiguration
    from webhook.installed import NotInstalled, laid_out, read

    if chosen.config is not None:
        raise Stop(Exit.USAGE, "--config and --from-cluster are two configurations: give one")
    try:
        there = asyncio.run(read(reach.kube))
    except NotInstalled as none:
        raise Stop(Exit.USAGE if none.was_asked else Exit.UNASKED, str(none)) from None
    for one in there.unknown:
        common.say(f"warning: not known here: {one}")
    if there.missing:
        common.say(f"warning: {there.missing}: what the install brought along is in force")
    with ExitStack() as laid:
        try:
            loaded = laid.enter_context(
                laid_out(there, rules=chosen.rules, variables=chosen.variables, with_lock=with_lock)
            )
        except BadConfiguration as bad:
            raise Stop(Exit.USAGE, str(bad), has_place=True) from None
        for warning in loaded.warnings:
            common.say(f"warning: {warning}")
        yield loaded
