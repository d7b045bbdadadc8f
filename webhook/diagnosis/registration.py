"""Whether the API server asks Moorage: the live registration as it is judged everywhere, told for doctor."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from webhook.core.bundle import BY_URL
from webhook.core.registered import AGAIN, Home, Live, Trouble, Webhook
from webhook.core.registered import judge as judged
from webhook.core.registration import INSTALLED_IN, NAME, NAMESPACE_LABEL, NEVER
from webhook.core.rules import RuleSet
from webhook.diagnosis.finding import Check, Finding, Level, Unseen, doubtful, few, fine, unseen, wrong
from webhook.diagnosis.shapes import Namespace

LOOKED: Final = f"mutatingwebhookconfiguration {NAME}"
HOME: Final = Home(INSTALLED_IN)
NO_RULES: Final = RuleSet(())
"""Where nobody knows the configuration, the registration is judged without it."""

_OF: Final = {
    Trouble.MISSING_HOST: Check.COVERAGE,
    Trouble.EDITED_CONDITION: Check.COVERAGE,
    Trouble.NEWER_CONDITION: Check.COVERAGE,
    Trouble.OTHER_CONDITION: Check.COVERAGE,
    Trouble.MISSING_NAMESPACE: Check.NAMESPACES,
    Trouble.NAMESPACE_SELECTOR: Check.NAMESPACES,
    Trouble.NAMESPACE_NOT_EXCLUDED: Check.NAMESPACES,
}
"""Under which check it is told, where that is not the registration itself."""
_FIELD: Final = {
    Trouble.MISSING_HOST: "matchConditions",
    Trouble.EDITED_CONDITION: "matchConditions",
    Trouble.OTHER_CONDITION: "matchConditions",
    Trouble.MISSING_RULE: "rules",
    Trouble.OTHER_SERVICE: "clientConfig",
    Trouble.OBJECT_SELECTOR: "objectSelector",
    Trouble.NAMESPACE_NOT_EXCLUDED: "namespaceSelector",
    Trouble.NOT_OURS: "webhooks",
}
"""Whose writers are told: who has to be talked to."""
_LEVELS: Final = {"error": Level.ERROR, "warning": Level.WARNING, "info": Level.OK}


def judge(found: Live | Unseen | None, rules: RuleSet | None, others: Sequence[Live] | Unseen) -> Iterator[Finding]:
    """Whether it is there, ours, and as the rules need it. `rules` are None where nobody knows them."""
    if isinstance(found, Unseen):
        yield unseen(Check.REGISTRATION, found, is_needed=True)
        return
    if found is not None and BY_URL in (found.metadata.annotations or {}):
        yield doubtful(
            Check.REGISTRATION,
            LOOKED,
            "a process on somebody's machine made it (serve --register-url)",
            f"it goes with that process; for an install, {AGAIN} after that",
        )
        return
    known = [] if isinstance(others, Unseen) else others
    problems = list(judged(found, rules or NO_RULES, HOME, known))
    for one in problems:
        writers = found.writers(_FIELD[one.trouble]) if found is not None and one.trouble in _FIELD else ()
        by = f" (written by {few(writers)})" if writers else ""
        level = _LEVELS[one.level]
        advice = one.remedy if level is not Level.OK else ""
        yield Finding(_OF.get(one.trouble, Check.REGISTRATION), level, LOOKED, f"{one}{by}", advice)
    if found is None or not found.ours:
        return
    ours = [one for _, one in found.ours]
    bare = [one.name for one in ours if one.client_config.service is not None and not one.client_config.ca_bundle]
    if bare:
        yield wrong(
            Check.REGISTRATION,
            LOOKED,
            f"webhooks {few(bare)} have no caBundle: the API server trusts no certificate of ours",
            "Moorage writes it within a minute where it keeps its own certificates; else write it, or let cert-manager",
        )
    if not bare and not any(one.is_gap for one in problems):
        policies = few({one.failure_policy for one in ours})
        yield fine(Check.REGISTRATION, LOOKED, f"ours, {len(ours)} webhooks, failurePolicy {policies}")
        if rules is not None:
            yield fine(Check.COVERAGE, LOOKED, "it lets through what the rules of the configuration are about")


def judge_namespaces(found: Live, namespaces: Sequence[Namespace] | Unseen) -> Iterator[Finding]:
    """How many namespaces are asked about."""
    looked = f"namespaceSelector of {LOOKED}"
    if isinstance(namespaces, Unseen):
        yield unseen(Check.NAMESPACES, namespaces)
        return
    others = [one for one in namespaces if one.metadata.name not in {*NEVER, INSTALLED_IN}]
    taken = [one for one in others if takes(askers(found), one)]
    if others and not taken:
        yield doubtful(
            Check.NAMESPACES,
            looked,
            f"it takes none of {len(others)} namespaces, but for those that must work without Moorage",
            "label those that shall be asked about, or write another selector",
        )
    else:
        yield fine(Check.NAMESPACES, looked, f"it takes {len(taken)} of {len(others)} namespaces that it may take")


def askers(found: Live) -> tuple[Webhook, ...]:
    """Our webhooks that are asked about new Pods."""
    return tuple(one for _, one in found.ours if is_asked_about_pods(one))


def is_asked_about_pods(one: Webhook) -> bool:
    """Whether a webhook is asked when a Pod is created."""
    return any(asked.holds("", "pods", "CREATE") for asked in one.rules or ())


def takes(webhooks: Sequence[Webhook], namespace: Namespace) -> bool:
    """Whether Pods of a namespace are asked about."""
    labels: Mapping[str, str] = {NAMESPACE_LABEL: namespace.metadata.name, **(namespace.metadata.labels or {})}
    return any(all(line.holds(labels) for line in one.namespaces) for one in webhooks)
