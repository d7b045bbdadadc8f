"""Whether the API server takes what our Pods show: the certificate held against the bundle of the registration."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from webhook.diagnosis.finding import Check, Finding, doubtful, few, fine, wrong

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
