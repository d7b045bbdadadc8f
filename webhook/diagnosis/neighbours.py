"""Who else changes Pods at their admission, and whether before us or after us."""

from collections.abc import Iterator, Sequence
from typing import Final

from webhook.core.registered import Live
from webhook.core.registration import NAME
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, few, fine, unseen
from webhook.diagnosis.registration import is_asked_about_pods

KNOWN: Final = (
    ("digester", "k8s-digester", "writes digests itself, without a target"),
    ("imageswap", "imageswap", "swaps registries"),
    ("image-swapper", "k8s-image-swapper", "swaps registries"),
    ("harbor-container-webhook", "harbor-container-webhook", "swaps registries"),
    ("kube-image-keeper", "kube-image-keeper", "moves images to its own cache"),
    ("kuik", "kube-image-keeper", "moves images to its own cache"),
    ("policy.sigstore.dev", "policy-controller", "writes digests itself"),
    ("connaisseur", "Connaisseur", "writes digests itself"),
    ("kyverno-resource-mutating", "Kyverno", "its policies may change images"),
    ("kyverno-verify-mutating", "Kyverno", "its verifyImages rules write digests"),
    ("gatekeeper-mutating", "Gatekeeper", "its mutators may change images"),
    ("kimup", "kube-image-updater", "writes tags"),
)
"""What stands in the name of a registration or of its webhooks, whose it is, and what it does to images."""
_TWO: Final = (
    "let one of them have an image: leave these images out of its rules or of ours; images that it writes after us are "
    "looked at again (reinvocationPolicy), so that the last word is the same"
)


def judge(found: Sequence[Live] | Unseen) -> Iterator[Finding]:
    """Other webhooks that are asked when a Pod is created."""
    if isinstance(found, Unseen):
        yield unseen(Check.NEIGHBOURS, found)
        return
    others = [
        one
        for one in found
        if one.metadata.name != NAME and any(map(is_asked_about_pods, one.webhooks or ())) and not one.ours
    ]
    known = [(one, match) for one in others if (match := _known(one)) is not None]
    for one, (whose, what) in known:
        yield doubtful(
            Check.NEIGHBOURS,
            f"mutatingwebhookconfiguration {one.metadata.name}",
            f"{whose} is asked {_order(one)} us, and {what}",
            _TWO,
        )
    rest = [one for one in others if one not in [each for each, _ in known]]
    looked = "other webhooks that may change Pods"
    if rest:
        names = few((f"{one.metadata.name} ({_order(one)} us)" for one in rest), 10)
        yield fine(Check.NEIGHBOURS, looked, f"none is known to change images: {names}")
    elif not known:
        yield fine(Check.NEIGHBOURS, looked, "there are none")


def _known(one: Live) -> tuple[str, str] | None:
    names = " ".join([one.metadata.name, *(each.name for each in one.webhooks or ())])
    return next(((whose, what) for part, whose, what in KNOWN if part in names), None)


def _order(one: Live) -> str:
    """The API server asks in the order of names (apiserver, MutatingWebhookConfigurationSorter)."""
    return "before" if one.metadata.name < NAME else "after"
