"""Whether the API server asks Moorage: the live registration, whose it is, and which namespaces it takes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from webhook.core.registration import INSTALLED_IN, NAME, NAMESPACE_LABEL, NEVER, PODS, REVISIONS
from webhook.core.rules import Requirement
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, few, fine, unseen, wrong
from webhook.diagnosis.shapes import Namespace, Registration, Selector, Webhook

LOOKED: Final = f"mutatingwebhookconfiguration {NAME}"
BY_URL: Final = "moorage.dev/registered-by-url"
DOMAIN: Final = ".moorage.dev"
_WAITS: Final = 10
"""Seconds. All webhooks together have about 30, one after another."""
_AGAIN: Final = "write it again: apply deploy/install.yaml, or what `moorage config registration` prints"
_NOBODY: Final = "the API server asks nobody, and every Pod is admitted as it is"


def is_ours(one: Registration) -> bool:
    """Whether it leads to our Service under our names, or was made by a process of ours on a laptop."""
    webhooks = one.webhooks or []
    named = bool(webhooks) and all(each.name.endswith(DOMAIN) for each in webhooks)
    return named and (BY_URL in (one.metadata.annotations or {}) or all(map(leads_to_us, webhooks)))


def leads_to_us(one: Webhook) -> bool:
    """Whether it asks the Service of the install."""
    service = one.client_config.service
    return service is not None and (service.namespace, service.name) == (INSTALLED_IN, NAME)


def judge(found: Registration | Unseen) -> Iterator[Finding]:
    """Whether it is there, ours, and as it was made."""
    if isinstance(found, Unseen):
        if found.is_missing:
            yield wrong(Check.REGISTRATION, LOOKED, f"it is not there: {_NOBODY}", _AGAIN)
        else:
            yield unseen(Check.REGISTRATION, found, is_needed=True)
        return
    if not found.webhooks:
        yield wrong(Check.REGISTRATION, LOOKED, f"it names no webhook: {_NOBODY}", _AGAIN)
        return
    if not is_ours(found):
        yield wrong(
            Check.REGISTRATION,
            LOOKED,
            f"it is not ours: it leads to {_leads_to(found)}{_written_by(found)}",
            f"find out who writes an object of this name; then delete it and {_AGAIN}",
        )
        return
    if BY_URL in (found.metadata.annotations or {}):
        yield doubtful(
            Check.REGISTRATION,
            LOOKED,
            f"a process on somebody's machine made it, at {_leads_to(found)}",
            "it goes with that process; for an install apply deploy/install.yaml after that",
        )
        return
    problems = list(_problems(found))
    yield from problems
    if not any(one.level == "error" for one in problems):
        policies = few({one.failure_policy for one in found.webhooks})
        yield fine(Check.REGISTRATION, LOOKED, f"ours, {len(found.webhooks)} webhooks, failurePolicy {policies}")


def _problems(found: Registration) -> Iterator[Finding]:
    by = _written_by(found)
    missing = list(_missing(found))
    if missing:
        yield wrong(
            Check.REGISTRATION, LOOKED, f"it does not ask about {few(missing)}{by}", f"somebody edited it; {_AGAIN}"
        )
    for one in found.webhooks or ():
        looked = f"{LOOKED}, webhook {one.name}"
        for said, why in _odd(one):
            yield doubtful(Check.REGISTRATION, looked, f"{said}{by}", why)
        if one.client_config.service is not None and not one.client_config.ca_bundle:
            yield wrong(
                Check.REGISTRATION,
                looked,
                "it has no caBundle, so the API server trusts no certificate of ours",
                "Moorage writes it within a minute where it keeps its own certificates; else write it, "
                "or let cert-manager do so",
            )


def _missing(found: Registration) -> Iterator[str]:
    """What of ours is not asked about."""
    for rules in (*PODS, *REVISIONS):
        for resource in rules.resources:
            for operation in rules.operations:
                if not any(one.is_asked_about(rules.group, resource, operation) for one in found.webhooks or ()):
                    yield f"{operation} of {resource}"


def _odd(one: Webhook) -> Iterator[tuple[str, str]]:
    """What is not as it was made, and works somehow."""
    if one.timeout_seconds > _WAITS:
        yield (
            f"it waits {one.timeout_seconds} s for an answer",
            "all webhooks of a request have some 30 s together: 5 are enough",
        )
    if one.reinvocation_policy != "IfNeeded":
        yield (
            f"reinvocationPolicy is {one.reinvocation_policy}",
            "set IfNeeded: containers that other webhooks add after us are not decided on",
        )
    if one.match_policy != "Equivalent":
        yield f"matchPolicy is {one.match_policy}", "set Equivalent: objects of other versions pass by"
    if one.object_selector.match_labels or one.object_selector.match_expressions:
        yield (
            "it has an objectSelector",
            "only Pods with these labels are decided on; take it away unless you mean that",
        )
    if "v1" not in one.admission_review_versions:
        yield "admissionReviewVersions lacks v1", "set [v1], which is what Moorage speaks"


def _leads_to(found: Registration) -> str:
    places = set()
    for one in found.webhooks or ():
        service = one.client_config.service
        # Of an URL only the host is told: its path may be a secret.
        host = urlsplit(one.client_config.url).netloc
        places.add(f"service {service.namespace}/{service.name}" if service is not None else host)
    return few(places)


def _written_by(found: Registration) -> str:
    """Who wrote it last, where the API server says so."""
    written = max(found.metadata.managed_fields or (), key=lambda one: one.time, default=None)
    return f" (last written by {written.manager})" if written is not None and written.manager else ""


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in (selector.match_labels or {}).items()):
        return False
    return all(
        Requirement(one.get("key", ""), one.get("operator", "Exists"), tuple(one.get("values") or ())).holds(labels)
        for one in selector.match_expressions or ()
    )


def judge_namespaces(found: Registration, namespaces: Sequence[Namespace] | Unseen) -> Iterator[Finding]:
    """Which namespaces are asked about; those that must work without us may not be."""
    webhooks = [one for one in found.webhooks or () if one.is_asked_about("", "pods", "CREATE")]
    if not webhooks:
        return
    looked = f"namespaceSelector of {LOOKED}"
    closed = any(one.failure_policy == "Fail" for one in webhooks)
    bare = {name: {NAMESPACE_LABEL: name} for name in (*NEVER, INSTALLED_IN)}
    real = {} if isinstance(namespaces, Unseen) else {one.metadata.name: labels_of(one) for one in namespaces}
    taken = [
        name
        for name, labels in bare.items()
        if any(selects(one.namespace_selector, real.get(name, labels)) for one in webhooks)
    ]
    if taken:
        worse = wrong if closed else doubtful
        yield worse(
            Check.NAMESPACES,
            looked,
            f"it takes {few(taken)}"
            + (" under failurePolicy Fail: a cluster that cannot start its own parts does not come back" * closed),
            f"exclude them; {_AGAIN}",
        )
        return
    if isinstance(namespaces, Unseen):
        yield fine(Check.NAMESPACES, looked, f"it leaves out {few(bare)}")
        return
    others = {name: labels for name, labels in real.items() if name not in bare}
    asked = [name for name, labels in others.items() if takes(webhooks, labels)]
    if others and not asked:
        yield doubtful(
            Check.NAMESPACES,
            looked,
            f"it takes none of the other {len(others)} namespaces",
            "label those that shall be asked about, or write another selector",
        )
        return
    yield fine(
        Check.NAMESPACES, looked, f"it takes {len(asked)} of {len(others)} namespaces, and leaves out {few(bare)}"
    )


def takes(webhooks: Sequence[Webhook], labels: Mapping[str, str]) -> bool:
    """Whether Pods of a namespace are asked about."""
    return any(selects(one.namespace_selector, labels) for one in webhooks)


def labels_of(one: Namespace) -> Mapping[str, str]:
    """Its labels, and the one that the API server writes on each."""
    return {NAMESPACE_LABEL: one.metadata.name, **(one.metadata.labels or {})}


def judge_others(found: Sequence[Registration]) -> Iterator[Finding]:
    """Further registrations of ours: two installs in one cluster."""
    for one in found:
        own = [each for each in one.webhooks or () if each.name.endswith(DOMAIN) or leads_to_us(each)]
        if own and one.metadata.name != NAME:
            yield wrong(
                Check.REGISTRATION,
                f"mutatingwebhookconfiguration {one.metadata.name}",
                f"it is another registration of Moorage, at {_leads_to(one)}: Pods are decided on twice",
                "keep one install in a cluster, and delete the registration of the other",
            )
