"""Whether the API server takes what our Pods show: the certificate held against the bundle of the registration; and whether
what comes after it can be used."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from webhook.core.registration import INSTALLED_IN
from webhook.diagnosis.finding import Check, Finding, doubtful, few, fine, wrong
from webhook.diagnosis.install import Heard, Told

DAY: Final = 86_400.0
SOON: Final = 7 * DAY
"""Moorage renews its own certificates after two thirds of 30 days: what has less left was forgotten."""


class Shown(msgspec.Struct, frozen=True):
    """What a Pod shows: until when it is valid (unix seconds; 0 for unknown), and why callers do not take it, empty where
    they do."""

    expires: float
    trouble: str = ""


def judge(shown: Mapping[str, Shown], name: str, now: float) -> Iterator[Finding]:
    """By the names of Pods, in one line a trouble."""
    looked = f"certificate for {name}, beside caBundle"
    troubles: dict[str, list[str]] = {}
    for pod, one in shown.items():
        if one.trouble:
            troubles.setdefault(one.trouble, []).append(pod)
    for trouble, pods in troubles.items():
        yield wrong(
            Check.CERTIFICATE,
            looked,
            f"the API server does not take what {few(pods)} shows: {trouble}",
            "`moorage certs check` says more; where Moorage keeps its own, its log says why it does not mend that",
        )
    good = [one.expires for one in shown.values() if not one.trouble]
    if not good or troubles:
        return
    days = (min(good) - now) / DAY
    if min(good) - now < SOON:
        yield doubtful(
            Check.CERTIFICATE,
            looked,
            f"it ends in {days:.1f} days",
            "it should have been renewed long ago: the log of whoever keeps it says why it was not",
        )
        return
    yield fine(
        Check.CERTIFICATE, looked, f"the registration trusts what {len(good)} Pods show, for {days:.0f} more days"
    )


def judge_loaded(heard: Heard) -> Iterator[Finding]:
    """Pods that could not take in what they found last, and those that cannot keep it right for all."""
    told = {name: one for name, one in heard.items() if isinstance(one, Told)}
    refusing = sorted(name for name, one in told.items() if not one.has_newest)
    failing = sorted(name for name, one in told.items() if not one.keeps)
    if refusing:
        yield wrong(
            Check.CERTIFICATE,
            "certificate that Pods found last, beside what they show",
            f"{few(refusing)} cannot use it; what was shown before still is, until it ends",
            f"kubectl -n {INSTALLED_IN} logs {refusing[0]}: its line `certificate not loaded` says why",
        )
    if failing:
        yield wrong(
            Check.CERTIFICATE,
            "certificates in the Secret, and what the registration says of them",
            f"{few(failing)} is to keep them right, and cannot",
            f"kubectl -n {INSTALLED_IN} logs {failing[0]}: its line `certificates not kept` says why",
        )
