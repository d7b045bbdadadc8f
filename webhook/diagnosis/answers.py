"""Whether the API server gets answers of ours: a Pod is sent in a dry run, and what it says of it is looked at."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webhook.core.annotation import IMAGES
from webhook.core.dryrun import Verdict, verdict
from webhook.core.registered import Live
from webhook.core.registration import INSTALLED_IN, NEVER
from webhook.core.targets import LOOPBACK_NAMES
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, fine, unseen, wrong
from webhook.diagnosis.registration import askers, takes
from webhook.diagnosis.shapes import Namespace

CONTAINER: Final = "moorage-doctor"
_NOT_A_NAME: Final = "Moorage-Doctor"
"""A path that is none: Moorage says so, and asks no registry."""
_ANY_HOST: Final = "registry.invalid"
_SIGN: Final = f"moorage: {CONTAINER}: "
_MAIN: Final = "default"
_PATH: Final = re.compile(r"/mutate/[^?\"\s]+")
"""The secret path, which the API server names where it could not call."""


def choose(registration: Live, namespaces: Sequence[Namespace] | Unseen, wanted: str) -> str:
    """A namespace whose Pods are asked about; empty where there is none. What is wanted is taken if nobody can say."""
    if wanted:
        return wanted
    if isinstance(namespaces, Unseen):
        return _MAIN
    webhooks, never = askers(registration), {*NEVER, INSTALLED_IN}
    fit = [
        one.metadata.name
        for one in namespaces
        if takes(webhooks, one) and one.metadata.name not in never and not one.metadata.deletion_timestamp
    ]
    return _MAIN if _MAIN in fit else min(fit, default="")


def probe(registration: Live) -> dict[str, Any]:
    """A Pod that is asked about, and decided on without a question to any registry."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "moorage-doctor-"},
        "spec": {"containers": [{"name": CONTAINER, "image": f"{_host(registration)}/{_NOT_A_NAME}"}]},
    }


def _host(registration: Live) -> str:
    """One that the conditions of the registration let through."""
    for one in askers(registration):
        coverage = one.conditions_as("pods").coverage
        if coverage.everything:
            return _ANY_HOST
        if coverage.names:
            return min(coverage.names - LOOPBACK_NAMES, default=min(coverage.names))
        for glob in sorted(coverage.globs):
            return f"{glob.start}x{glob.end}"
    return _ANY_HOST


def judge(
    status: int, message: str, warnings: Sequence[str], annotations: Mapping[str, str], namespace: str, policy: str
) -> Finding:
    """What the API server's answer to the Pod says. `message` is its own where it refused, `policy` the failurePolicy."""
    looked = f"a Pod in namespace {namespace}, sent to the API server in a dry run"
    message = _PATH.sub("/mutate/…", message)
    if any(one.startswith(_SIGN) for one in warnings) or IMAGES in annotations or _SIGN in message:
        return fine(Check.ANSWERS, looked, "Moorage was asked and answered")
    if "failed calling webhook" in message and ".moorage.dev" in message:
        return wrong(
            Check.ANSWERS,
            looked,
            f"the API server gets no answer: {message}",
            "under failurePolicy Fail no such Pod can be made; break glass (docs/operations.md), then look at the lines "
            "about service and certificate",
        )
    match verdict(status, message):
        case Verdict.ADMITTED:
            return wrong(
                Check.ANSWERS,
                looked,
                f"it was admitted without Moorage (failurePolicy {policy})",
                "look at the lines about registration, service and certificate: the API server gets no answer that it "
                "trusts, or does not ask; its log says `failed calling webhook` and why",
            )
        case Verdict.NO_NAMESPACE:
            return doubtful(Check.ANSWERS, looked, message, "give another namespace with -n")
        case Verdict.UNASKED:
            forbidden = status == 403
            return unseen(Check.ANSWERS, Unseen(looked, message, is_forbidden=forbidden))
        case Verdict.REFUSED:
            return doubtful(
                Check.ANSWERS,
                looked,
                f"somebody else refused it before Moorage was heard: {message}",
                "give a namespace with -n where a Pod of one container may be created",
            )
