"""Whether registries answer and take logins: from here, and as Moorage's own Pods see them."""

from collections.abc import Iterable, Iterator
from typing import Final

from webhook.core.ask import Absent, Failed, Passed
from webhook.core.credential import ANONYMOUS_KIND
from webhook.core.reference import Reference
from webhook.core.registration import INSTALLED_IN, NAME
from webhook.core.rules import Rule
from webhook.diagnosis.finding import Check, Finding, doubtful, few, fine, wrong
from webhook.diagnosis.install import Heard, Told

_WORD: Final = "doctor"


def example(rules: Iterable[Rule], host: str) -> Reference:
    """An image of a host that a rule could be about: logins depend on the path."""
    for rule in rules:
        for pattern in rule.images.patterns:
            name, _, path = pattern.partition("/")
            if name == host and not pattern.startswith("!"):
                return Reference(host, path.replace("**", _WORD).replace("*", _WORD).replace("?", "x") or _WORD)
    return Reference(host, _WORD)


def judge(host: str, outcome: Passed | Absent | Failed, login: str, *, inside: bool) -> Finding:
    """A greeting. `login` is the kind of the credential that was offered, empty for none; `inside` whether it was sent
    from within the cluster."""
    looked = f"registry {host}, from {'this Pod' if inside else 'this machine'}"
    worse = wrong if inside else doubtful
    match outcome:
        case Passed():
            without = login == ANONYMOUS_KIND
            return fine(
                Check.REGISTRIES, looked, "it answers without a login" if without else f"it takes the login ({login})"
            )
        case Absent(denied=False):
            return worse(
                Check.REGISTRIES, looked, "it answers 404 at /v2/", "is it a registry, and at the root of its host?"
            )
        case Absent() if login:
            return worse(
                Check.REGISTRIES,
                looked,
                f"it refuses the login ({login})",
                f"log in anew: docker login {host}; pull secrets of Pods are others, `moorage explain IMAGE -n NS` "
                "tells about an image",
            )
        case Absent():
            return doubtful(
                Check.REGISTRIES,
                looked,
                "it answers, and wants a login that is not known here",
                f"docker login {host}, to see whether it works; pull secrets of Pods are not looked at",
            )
        case Failed():
            return worse(
                Check.REGISTRIES,
                looked,
                f"{outcome.reason}: {outcome.detail}",
                "nodes and Moorage's Pods may have another way there: their own line, if there is one, counts",
            )


def judge_logins(heard: Heard) -> Iterator[Finding]:
    """How Pods of ours fare that log in at clouds, with an identity that nobody else has."""
    counts: dict[str, dict[str, set[str]]] = {}
    for name, told in heard.items():
        for kind, outcome in told.cloud_logins if isinstance(told, Told) else ():
            counts.setdefault(kind, {"renewed": set(), "failed": set()}).setdefault(outcome, set()).add(name)
    for kind, each in sorted(counts.items()):
        looked = f"logins by {kind}, as Moorage sees them"
        if not each["failed"]:
            yield fine(Check.REGISTRIES, looked, f"they are had (by {few(sorted(each['renewed']))})")
            continue
        advice = f'the log says why: kubectl -n {INSTALLED_IN} logs deployment/{NAME} | grep "no cloud login"'
        none = sorted(each["failed"] - each["renewed"])
        if none:
            yield wrong(Check.REGISTRIES, looked, f"none was had since the start (by {few(none)})", advice)
        else:
            yield doubtful(Check.REGISTRIES, looked, f"some failed (for {few(sorted(each['failed']))})", advice)


def judge_breakers(heard: Heard) -> Iterator[Finding]:
    """Registries that Pods of ours leave alone because they failed."""
    shut: dict[str, list[str]] = {}
    for name, told in heard.items():
        for host in told.open_breakers if isinstance(told, Told) else ():
            shut.setdefault(host, []).append(name)
    for host, names in sorted(shut.items()):
        yield wrong(
            Check.REGISTRIES,
            f"registry {host}, as Moorage sees it",
            f"it fails, and is left alone for a while (by {few(names)}); the last known digests are used",
            "look at the registry, and at the way there from Moorage's Pods (egress, proxy, DNS)",
        )
