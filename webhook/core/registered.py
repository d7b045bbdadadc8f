"""A live registration held against what the rules need: what is wrong with it, and what mends its conditions."""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from webhook.core.conditions import Coverage, Kind, Read, conditions, is_kept, needed, read
from webhook.core.registration import MANAGED, NAME, NAMESPACE_LABEL, NEVER, SERVED, SUFFIX
from webhook.core.rules import Requirement, RuleSet

REQUIRED: Final = "required-"


class Service(msgspec.Struct, frozen=True):
    """Where a webhook is served in the cluster."""

    namespace: str = ""
    name: str = ""
    path: str = ""
    port: int = 443

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ClientConfig(msgspec.Struct, frozen=True, rename="camel"):
    """How a webhook is reached. `ca_bundle` is base64 of PEM."""

    url: str = ""
    service: Service | None = None
    ca_bundle: str = ""


class Condition(msgspec.Struct, frozen=True):
    """An entry of matchConditions."""

    name: str
    expression: str


class Selector(msgspec.Struct, frozen=True, rename="camel"):
    """A label selector."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[Requirement] | None = None

    @property
    def lines(self) -> tuple[Requirement, ...]:
        """All that must hold."""
        labels = tuple(Requirement(key, "In", (value,)) for key, value in (self.match_labels or {}).items())
        return labels + tuple(self.match_expressions or ())


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """An entry of `rules`: what a webhook is asked about."""

    api_groups: list[str] = []
    api_versions: list[str] = []
    resources: list[str] = []
    operations: list[str] = []
    scope: str = "*"

    def holds(self, group: str, resource: str, operation: str) -> bool:
        """Whether this is one of the things."""
        main, _, sub = resource.partition("/")
        spellings = {resource, "*/*", f"{main}/*" if sub else "*", f"*/{sub}" if sub else resource}
        return (
            not {group, "*"}.isdisjoint(self.api_groups)
            and not {"v1", "*"}.isdisjoint(self.api_versions)
            and not spellings.isdisjoint(self.resources)
            and not {operation, "*"}.isdisjoint(self.operations)
            and self.scope != "Cluster"
        )


class Webhook(msgspec.Struct, frozen=True, rename="camel"):
    """One webhook of a registration."""

    name: str
    client_config: ClientConfig = ClientConfig()
    rules: list[Asked] | None = None
    namespace_selector: Selector | None = None
    object_selector: Selector | None = None
    failure_policy: str = "Fail"
    match_policy: str = "Equivalent"
    side_effects: str = ""
    timeout_seconds: int = 10
    reinvocation_policy: str = "Never"
    match_conditions: list[Condition] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it bears a name of Moorage."""
        return self.name.endswith(SUFFIX)

    @property
    def namespaces(self) -> tuple[Requirement, ...]:
        """What it asks of the labels of namespaces."""
        return self.namespace_selector.lines if self.namespace_selector is not None else ()

    @property
    def is_required(self) -> bool:
        """Whether it is that of `deploy/components/fail-closed`: for Pods of the namespaces that want it so."""
        return self.name == f"{REQUIRED}pods{SUFFIX}"

    @property
    def kind(self) -> Kind | None:
        """What of it Moorage makes conditions for; None of one that it does not know."""
        return next((kind for kind in SERVED if self.name.removeprefix(REQUIRED) == f"{kind}{SUFFIX}"), None)

    def stands_for(self, other: "Webhook") -> bool:
        """Whether it is asked in all namespaces in which another is."""
        return all(line in other.namespaces for line in self.namespaces)

    def conditions_as(self, kind: Kind) -> Read:
        """What its conditions let through of Pods, or of revisions."""
        every = [{"name": one.name, "expression": one.expression} for one in self.match_conditions or ()]
        return read(every, kind)


class _Owner(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Manager(msgspec.Struct, frozen=True, rename="camel"):
    manager: str = ""
    operation: str = ""
    fields: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="fieldsV1")


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """As much of the object's metadata as counts."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None
    managed_fields: list[_Manager] | None = None


class Live(msgspec.Struct, frozen=True):
    """A MutatingWebhookConfiguration as it stands in the cluster."""

    metadata: Metadata = Metadata()
    webhooks: list[Webhook] | None = None

    @property
    def ours(self) -> tuple[tuple[int, Webhook], ...]:
        """The webhooks of Moorage, with their places in the list."""
        return tuple((number, one) for number, one in enumerate(self.webhooks or ()) if one.is_ours)

    @property
    def is_managed(self) -> bool:
        """Whether the server shall keep its conditions right."""
        return (self.metadata.labels or {}).get(MANAGED) == "true"

    def writers(self, field: str) -> tuple[str, ...]:
        """Who has written a field, as the API server remembers it."""
        quoted = f'"f:{field}"'.encode()
        found = (one.manager for one in self.metadata.managed_fields or () if quoted in bytes(one.fields))
        return tuple(dict.fromkeys(found))


_decoder: Final = msgspec.json.Decoder(Live)


def decoded(body: bytes) -> Live:
    """The object from its JSON.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _decoder.decode(body)


class Home(msgspec.Struct, frozen=True):
    """Whose registration it shall be: the Service of a namespace, or a URL. With an empty namespace any Service is
    taken for ours."""

    namespace: str = ""
    service: str = NAME
    url: str = ""

    def is_at(self, config: ClientConfig) -> bool:
        """Whether a webhook leads there."""
        if self.url:
            return config.url.startswith(f"{self.url.rstrip('/')}/")
        if not self.namespace or config.service is None:
            return True
        return (config.service.namespace, config.service.name) == (self.namespace, self.service)


class Trouble(StrEnum):
    """What can be wrong with a registration; MEANING says it, REMEDY what to do."""

    ABSENT = "absent"
    NOT_OURS = "not-ours"
    OTHER_SERVICE = "other-service"
    OTHER_INSTALL = "other-install"
    OTHER_OWNER = "other-owner"
    MISSING_RULE = "missing-rule"
    MISSING_HOST = "missing-host"
    MISSING_NAMESPACE = "missing-namespace"
    EDITED_CONDITION = "edited-condition"
    NEWER_CONDITION = "newer-condition"
    OTHER_CONDITION = "other-condition"
    OBJECT_SELECTOR = "object-selector"
    NAMESPACE_SELECTOR = "namespace-selector"
    NAMESPACE_NOT_EXCLUDED = "namespace-not-excluded"
    FAILS_CLOSED = "fails-closed"
    SETTING = "setting"


MEANING: Final[Mapping[Trouble, str]] = {
    Trouble.ABSENT: "there is no mutatingwebhookconfiguration {what}: the API server asks nobody",
    Trouble.NOT_OURS: "mutatingwebhookconfiguration {what} holds no webhook of Moorage",
    Trouble.OTHER_SERVICE: "webhook {webhook} leads to {what}, which is not this Moorage",
    Trouble.OTHER_INSTALL: "mutatingwebhookconfiguration {what} is Moorage's too: each Pod is asked about twice",
    Trouble.OTHER_OWNER: "{what} keeps the registration, and Moorage keeps its conditions right: one undoes the other",
    Trouble.MISSING_RULE: "webhook {webhook} is not asked about {what}",
    Trouble.MISSING_HOST: "webhook {webhook} does not see images of {what}",
    Trouble.MISSING_NAMESPACE: "webhook {webhook} does not see namespace {what}, which a rule names",
    Trouble.EDITED_CONDITION: "webhook {webhook}: condition {what} is not as Moorage makes it: nobody knows what it hides",
    Trouble.NEWER_CONDITION: "webhook {webhook}: condition {what} was made by a newer Moorage",
    Trouble.OTHER_CONDITION: "webhook {webhook}: condition {what} is not Moorage's own and may hide Pods",
    Trouble.OBJECT_SELECTOR: "webhook {webhook}: objectSelector hides what does not bear {what}",
    Trouble.NAMESPACE_SELECTOR: "webhook {webhook} sees only namespaces that bear {what}",
    Trouble.NAMESPACE_NOT_EXCLUDED: "webhook {webhook} is asked about namespace {what}, which must work without it",
    Trouble.FAILS_CLOSED: "webhook {webhook}: failurePolicy Fail everywhere: while Moorage is down no Pod starts",
    Trouble.SETTING: "webhook {webhook}: {what}",
}

_PRINT = "apply what `moorage config registration` prints"
AGAIN: Final = "apply again what installed it, or what `moorage config registration` prints"
"""What brings the object back as it was, its labels and namespaces with it."""
REMEDY: Final[Mapping[Trouble, str]] = {
    Trouble.ABSENT: AGAIN,
    Trouble.NOT_OURS: "rename it, or delete it, and " + AGAIN,
    Trouble.OTHER_SERVICE: "keep one Moorage in a cluster: uninstall the other, and " + AGAIN,
    Trouble.OTHER_INSTALL: "keep one Moorage in a cluster: delete that one with what it leads to",
    Trouble.OTHER_OWNER: f"let one of them: label it {MANAGED}=false, or let the other tool ignore matchConditions",
    Trouble.MISSING_RULE: AGAIN,
    Trouble.MISSING_HOST: f"{_PRINT}, or label it {MANAGED}=true",
    Trouble.MISSING_NAMESPACE: "take it out of the namespaceSelector, or out of the rule",
    Trouble.EDITED_CONDITION: f"{_PRINT}, or label it {MANAGED}=true",
    Trouble.NEWER_CONDITION: "wait until all replicas are of one version, or " + _PRINT,
    Trouble.OTHER_CONDITION: "make sure that it means to",
    Trouble.OBJECT_SELECTOR: "remove it; a rule's podSelector chooses Pods",
    Trouble.NAMESPACE_SELECTOR: "make sure that it means to",
    Trouble.NAMESPACE_NOT_EXCLUDED: AGAIN,
    Trouble.FAILS_CLOSED: "choose Ignore, or opt namespaces in",
    Trouble.SETTING: AGAIN,
}

GAPS: Final = frozenset(
    {
        Trouble.ABSENT,
        Trouble.NOT_OURS,
        Trouble.OTHER_SERVICE,
        Trouble.MISSING_RULE,
        Trouble.MISSING_HOST,
        Trouble.MISSING_NAMESPACE,
        Trouble.EDITED_CONDITION,
        Trouble.OBJECT_SELECTOR,
    }
)
"""What keeps images from Moorage that its rules are about. The rest may be meant."""
_NOTES: Final = frozenset({Trouble.NEWER_CONDITION, Trouble.NAMESPACE_SELECTOR})


_TOOLS: Final[Mapping[str, str]] = {
    "argocd.argoproj.io/instance": "Argo CD",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
}
"""Labels and annotations by which tools know what they keep as it stands in Git."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong. `webhook` is empty where it is the whole object."""

    trouble: Trouble
    what: str = ""
    webhook: str = ""

    @property
    def is_gap(self) -> bool:
        """Whether images do not come to Moorage that its rules are about."""
        return self.trouble in GAPS

    @property
    def level(self) -> str:
        """`error`, `warning` or `info`."""
        return "error" if self.is_gap else "info" if self.trouble in _NOTES else "warning"

    @property
    def remedy(self) -> str:
        """What to do."""
        return REMEDY[self.trouble]

    def __str__(self) -> str:
        return MEANING[self.trouble].format(what=self.what, webhook=self.webhook)


def judge(
    live: Live | None, rules: RuleSet, home: Home, others: Iterable[Live] = (), *, need: Coverage | None = None
) -> tuple[Finding, ...]:
    """All that is wrong with the live registration under these rules, what matters most first. `others` are the other
    registrations of the cluster, as far as they are known; `need` is what `needed` makes of the rules, where that is
    known already."""
    found = list(_of_object(live, rules, home, need if need is not None else needed(rules)))
    found += [
        Finding(Trouble.OTHER_INSTALL, one.metadata.name) for one in others if one.metadata.name != NAME and one.ours
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda one: (not one.is_gap, one.level != "warning")))


def _of_object(live: Live | None, rules: RuleSet, home: Home, need: Coverage) -> Iterator[Finding]:
    if live is None:
        yield Finding(Trouble.ABSENT, NAME)
        return
    ours = [webhook for _, webhook in live.ours]
    if not ours:
        yield Finding(Trouble.NOT_OURS, NAME)
        return
    yield from _missing(ours, rules, need)
    policies = {one.failure_policy for one in ours if not one.is_required}
    if len(policies) > 1:
        yield Finding(Trouble.SETTING, f"failurePolicy is not the same for all: {' and '.join(sorted(policies))}", NAME)
    for webhook in ours:
        yield from _of_webhook(webhook, home)
    if live.is_managed:
        yield from (Finding(Trouble.OTHER_OWNER, owner) for owner in _owners(live.metadata))


def _owners(metadata: Metadata) -> Iterator[str]:
    """Who else looks after the object, by what it bears."""
    for owner in metadata.owner_references or ():
        yield f"{owner.kind} {owner.name}"
    marks = {**(metadata.labels or {}), **(metadata.annotations or {})}
    yield from dict.fromkeys(tool for key, tool in _TOOLS.items() if key in marks)
    if marks.get("app.kubernetes.io/managed-by") == "Helm":
        yield "Helm"


def _missing(ours: list[Webhook], rules: RuleSet, need: Coverage) -> Iterator[Finding]:
    """What does not come to us though the rules are about it: resources, hosts, namespaces."""
    for kind, group, resource, operation in _wanted(rules):
        askers = [one for one in ours if any(asked.holds(group, resource, operation) for asked in one.rules or ())]
        if all(one.is_required for one in askers):
            yield Finding(Trouble.MISSING_RULE, f"{operation} of {resource}", f"{kind}{SUFFIX}")
        reads = [(one, one.conditions_as(kind)) for one in askers]
        good = [one for one, found in reads if not found.edited and found.coverage.holds(need)]
        for one, found in reads:
            if any(other.stands_for(one) for other in good):
                continue
            yield from (Finding(Trouble.EDITED_CONDITION, name, one.name) for name in found.edited)
            if not found.edited:
                yield from (Finding(Trouble.MISSING_HOST, host, one.name) for host in found.coverage.lacks(need))
    for namespace in _named(rules):
        hiding = [one for one in ours if _hides(one, namespace)]
        if len(hiding) == len(ours):
            yield from (Finding(Trouble.MISSING_NAMESPACE, namespace, one.name) for one in hiding)


def _wanted(rules: RuleSet) -> Iterator[tuple[Kind, str, str, str]]:
    """What must be asked about: updates of Pods where a target is guarded, revisions where a rule pins them."""
    is_guarded = any(target.guard != "off" for target in rules.targets)
    pins = any(rule.pin == "rollout" and rule.write != "tag" for rule in rules.rules)
    for kind, every in SERVED.items():
        if kind == "revisions" and not pins:
            continue
        for served in every:
            for resource in served.resources:
                for operation in served.operations:
                    if (resource, operation) != ("pods", "UPDATE") or is_guarded:
                        yield kind, served.group, resource, operation


def _named(rules: RuleSet) -> Iterator[str]:
    """Namespaces that rules name in full."""
    every = dict.fromkeys(pattern for rule in rules.rules for pattern in rule.namespaces.patterns)
    return (one for one in every if not one.startswith("!") and "*" not in one and "?" not in one and one not in NEVER)


def _hides(webhook: Webhook, namespace: str) -> bool:
    """Whether a namespace of this name is sure not to be asked about, whatever other labels it bears."""
    labels = {NAMESPACE_LABEL: namespace}
    return any(line.key == NAMESPACE_LABEL and not line.holds(labels) for line in webhook.namespaces)


def _of_webhook(webhook: Webhook, home: Home) -> Iterator[Finding]:
    config = webhook.client_config
    if not home.is_at(config):
        place = config.url or (f"service {config.service}" if config.service is not None else "nowhere")
        yield Finding(Trouble.OTHER_SERVICE, place, webhook.name)
    kind: Kind = "revisions" if webhook.name.startswith("revisions.") else "pods"
    found = webhook.conditions_as(kind)
    yield from (Finding(Trouble.NEWER_CONDITION, name, webhook.name) for name in found.newer)
    yield from (Finding(Trouble.OTHER_CONDITION, name, webhook.name) for name in found.others)
    if webhook.object_selector is not None and webhook.object_selector.lines:
        keys = ", ".join(line.key for line in webhook.object_selector.lines)
        yield Finding(Trouble.OBJECT_SELECTOR, keys, webhook.name)
    yield from _of_namespaces(webhook, home)
    yield from (Finding(Trouble.SETTING, told, webhook.name) for told in _settings(webhook))


def _of_namespaces(webhook: Webhook, home: Home) -> Iterator[Finding]:
    chosen = [line for line in webhook.namespaces if line.operator in {"In", "Exists"}]
    for line in chosen:
        words = f"{line.key}{'=' if line.values else ''}{' or '.join(line.values)}"
        yield Finding(Trouble.NAMESPACE_SELECTOR, words, webhook.name)
    if not chosen and webhook.failure_policy == "Fail":
        yield Finding(Trouble.FAILS_CLOSED, "", webhook.name)
    # Where namespaces opt in by a label of their own, these have to ask for it.
    opts_in = any(line.key != NAMESPACE_LABEL for line in chosen)
    for namespace in (*NEVER, *([home.namespace] if home.namespace else [])):
        if not opts_in and not _hides(webhook, namespace):
            yield Finding(Trouble.NAMESPACE_NOT_EXCLUDED, namespace, webhook.name)


def _settings(webhook: Webhook) -> Iterator[str]:
    if webhook.side_effects not in {"None", "NoneOnDryRun"}:
        yield f"sideEffects {webhook.side_effects}: server-side dry runs are refused"
    if webhook.reinvocation_policy != "IfNeeded":
        yield f"reinvocationPolicy {webhook.reinvocation_policy}: containers that others inject later stay as they are"
    if webhook.match_policy != "Equivalent":
        yield f"matchPolicy {webhook.match_policy}: requests of other API versions pass by"
    if webhook.timeout_seconds > 10:
        yield f"timeoutSeconds {webhook.timeout_seconds}: all webhooks of a request have about 30 s together"


def standing(live: Live) -> tuple[Coverage, ...] | None:
    """What its conditions let through to each of our webhooks; None where they were not made yet, or somebody else's hand
    is in them."""
    every = [one.conditions_as(one.kind) for _, one in live.ours if one.kind is not None]
    if any(found.edited for found in every) or not any(found.is_made for found in every):
        return None
    return tuple(found.coverage for found in every)


Operation = Mapping[str, Any]
"""Of a JSON patch (RFC 6902)."""


def precondition(live: Live) -> Operation:
    """Comes first in a patch, so that it fails with a conflict (409) where somebody has written since."""
    return {"op": "replace", "path": "/metadata/resourceVersion", "value": live.metadata.resource_version}


def mended(live: Live, wanted: Coverage) -> list[Operation]:
    """What gives our webhooks these conditions; empty where they have them. Conditions of others stay, and so does what a
    newer Moorage has made."""
    operations: list[Operation] = []
    for number, webhook in live.ours:
        if webhook.kind is None:
            continue
        before = list(webhook.match_conditions or ())
        kept = [one for one in before if is_kept(one.name)]
        after = [Condition(**one) for one in conditions(wanted, webhook.kind, explicit=True)] + kept
        if after != before:
            path = f"/webhooks/{number}/matchConditions"
            operations.append({"op": "add", "path": path, "value": msgspec.to_builtins(after)})
    return operations
