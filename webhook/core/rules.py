"""Rules, indexed by host; the first match wins."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

import msgspec

from webhook.core.globs import Globs
from webhook.core.reason import Note, Reason, Trace
from webhook.core.reference import Reference
from webhook.core.subject import TEMPLATES, Slot, Subject
from webhook.core.targets import Place, Target, places_of

EVERYTHING = Globs(("*",))
NO_LABELS: Mapping[str, str] = {}
UPSTREAM_ITSELF = (Place("{registry}/{path}"),)


class Requirement(msgspec.Struct, frozen=True):
    """One line of a label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels satisfy it (apimachinery's labels.Requirement: NotIn holds for an absent key)."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


Selector = tuple[Requirement, ...]
"""All must hold; empty selects everything."""


class Rule(msgspec.Struct, frozen=True):
    """What it matches, how to resolve, where to rewrite. Names and defaults are those of the configuration."""

    name: str
    images: Globs
    tags: Globs = EVERYTHING
    namespaces: Globs = EVERYTHING
    containers: Globs = EVERYTHING
    pod_selector: Selector = ()
    namespace_selector: Selector | None = None
    upstream: tuple[Place, ...] = UPSTREAM_ITSELF
    targets: tuple[Target, ...] = ()
    pin: Literal["rollout", "pod", "off"] = "rollout"
    on_reuse: Literal["keep", "fresh"] = "keep"
    on_pin_gone: Literal["repin", "keep"] = "repin"
    write: Literal["digest", "tagAndDigest", "tag", "record"] = "digest"
    on_failure: Literal["admit", "refuse"] = "admit"
    percent: int = 100

    @property
    def hosts(self) -> tuple[str, ...] | None:
        """The hosts that its image patterns name literally; None when a pattern's host is a glob."""
        hosts = [pattern.partition("/")[0] for pattern in self.images.patterns if not pattern.startswith("!")]
        return None if not hosts or any("*" in host or "?" in host for host in hosts) else tuple(dict.fromkeys(hosts))

    def upstreams(self, image: Reference) -> tuple[Reference, ...]:
        """The image at each registry that is asked for it, in order; those left out where it can have no name."""
        return (image,) if self.upstream == UPSTREAM_ITSELF else places_of(self.upstream, image)

    def failing_key(
        self,
        image: Reference,
        namespace: str,
        container: str,
        labels: Mapping[str, str],
        namespace_labels: Mapping[str, str] | None = None,
    ) -> str | None:
        """The first key of the rule, after `images`, that does not fit; None when all do."""
        if not self.tags.matches(image.floating):
            return "tags"
        if not self.namespaces.matches(namespace):
            return "namespaces"
        if not self.containers.matches(container):
            return "containers"
        if self.pod_selector and not all(line.holds(labels) for line in self.pod_selector):
            return "podSelector"
        if self.namespace_selector is not None:
            # Where nobody knows the labels, a rule that asks for some never matches.
            known = namespace_labels is not None and all(
                line.holds(namespace_labels) for line in self.namespace_selector
            )
            return None if known else "namespaceSelector"
        return None


class RuleSet:
    """All rules of one configuration, with what they share. Immutable once made."""

    def __init__(
        self,
        rules: Iterable[Rule],
        *,
        targets: Iterable[Target] = (),
        locked: Mapping[str, str] | None = None,
        templates: Mapping[str, str] = TEMPLATES,
    ) -> None:
        self.rules = tuple(rules)
        named = [*targets, *(target for rule in self.rules for target in rule.targets)]
        self.targets: tuple[Target, ...] = tuple({target.name: target for target in named}.values())
        self.locked: Mapping[str, str] = locked or {}
        self.templates = templates
        self._by_host = _by_host(self.rules)
        self._of_any_host = tuple(rule for rule in self.rules if rule.hosts is None)
        self.reads_labels = any(rule.pod_selector for rule in self.rules)
        self.refuses = any(rule.on_failure == "refuse" for rule in self.rules) or any(
            target.guard == "refuse" for target in self.targets
        )
        self.reads_namespaces = any(rule.namespace_selector is not None for rule in self.rules)
        # Bounded, and per rule set: the few repositories of a cluster come again and again.
        self._candidates = lru_cache(maxsize=8192)(self._find_candidates)
        self._matched = lru_cache(maxsize=8192)(self._match)

    @property
    def needs_cluster(self) -> str:
        """What cannot be known without a cluster, in a sentence; empty where nothing is missing."""
        names = [rule.name for rule in self.rules if rule.namespace_selector is not None]
        if not names:
            return ""
        return f"namespaceSelector of {', '.join(names)}: only a cluster knows the labels of namespaces; never a match here"

    def locked_to(self, image: Reference) -> str:
        """The digest that the lock file (`host/path:tag` to digest) gives this name, empty when none or when the image carries one."""
        if not self.locked or image.digest is not None:
            return ""
        return self.locked.get(image.tagged, "")

    def candidates(self, image: Reference) -> tuple[Rule, ...]:
        """The rules whose image patterns match, in order. The cost does not grow with the number of other hosts' rules."""
        return self._candidates(image.registry, image.path)

    def _find_candidates(self, registry: str, path: str) -> tuple[Rule, ...]:
        rules = self._by_host.get(registry, self._of_any_host)
        repository = f"{registry}/{path}"
        return tuple(rule for rule in rules if rule.images.matches(repository))

    def first_match(self, subject: Subject, slot: Slot, image: Reference) -> tuple[Rule | None, Trace]:
        """The rule that decides on a slot, and the rules of this image that were tried before it."""
        labels = subject.labels if self.reads_labels else None
        if labels or (self.reads_namespaces and subject.namespace_labels is not None):
            return self._match(image, subject.namespace, slot.container, labels or NO_LABELS, subject.namespace_labels)
        return self._matched(image, subject.namespace, slot.container)

    def _match(
        self,
        image: Reference,
        namespace: str,
        container: str,
        labels: Mapping[str, str] = NO_LABELS,
        namespace_labels: Mapping[str, str] | None = None,
    ) -> tuple[Rule | None, Trace]:
        tried: list[Note] = []
        for rule in self.candidates(image):
            failing = rule.failing_key(image, namespace, container, labels, namespace_labels)
            if failing is None:
                return rule, (*tried, (Reason.RULE_MATCHED, rule.name))
            tried.append((Reason.RULE_PASSED_OVER, rule.name, failing))
        return None, (*tried, (Reason.NO_RULE, image.repository))

    def explain(self, subject: Subject, slot: Slot, image: Reference) -> Trace:
        """Every rule with the key that keeps it from matching, up to and with the first that matches."""
        lines: list[Note] = []
        for rule in self.rules:
            failing = (
                rule.failing_key(image, subject.namespace, slot.container, subject.labels, subject.namespace_labels)
                if rule.images.matches(image.repository)
                else "images"
            )
            if failing is None:
                return (*lines, (Reason.RULE_MATCHED, rule.name))
            lines.append((Reason.RULE_PASSED_OVER, rule.name, failing))
        return (*lines, (Reason.NO_RULE, image.repository))


def _by_host(rules: tuple[Rule, ...]) -> dict[str, tuple[Rule, ...]]:
    """For each host that is named literally the rules that can match it, those of any host among them, in order."""
    hosts = [(rule, rule.hosts) for rule in rules]
    found: dict[str, list[Rule]] = {host: [] for _, own in hosts for host in own or ()}
    for rule, own in hosts:
        for host in found if own is None else own:
            found[host].append(rule)
    return {host: tuple(every) for host, every in found.items()}
