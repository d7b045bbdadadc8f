"""From what one process knows to what the page says. Nothing is asked of anybody for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

import msgspec

from webhook import __version__
from webhook.config import Loaded
from webhook.core import rules as core
from webhook.core.ask import Failed
from webhook.core.decision import Decision
from webhook.core.explanation import explained
from webhook.core.hosts import Registry
from webhook.core.targets import Target
from webhook.flights import OTHER
from webhook.page import answers
from webhook.page.recent import Recent, Seen, Wanted

SOON: Final = 7 * 86_400.0
"""Seconds before its end at which a certificate ends soon: the alert fires then, too."""
IMAGES: Final = 256
"""Images of one answer, where it has more than one review: what is shown is put together on the loop that answers reviews."""
LONGEST: Final = 1024
"""Characters of a text that is shown."""

Counts = Mapping[tuple[str, ...], float]
"""A metric's values by its labels, in their order."""


class Shown(Protocol):
    """What the certificate says that is in force: `webhook.tls.Pair`. Times in unix seconds."""

    @property
    def starts(self) -> float:
        """When it begins."""

    @property
    def expires(self) -> float:
        """When it ends."""

    @property
    def names(self) -> frozenset[str]:
        """Whom it is for."""


class Breaker(Protocol):
    """Whether a registry is left alone: `webhook.flights.Breaker`."""

    def refusal(self) -> Failed | None:
        """Why, where it is."""

    @property
    def seconds_left(self) -> float:
        """For how long."""


class Numbers(msgspec.Struct, frozen=True):
    """The counters that are shown: each gives its values when it is called."""

    reviews: Callable[[], Counts]
    images: Callable[[], Counts]
    requests: Callable[[], Counts]
    turned_away: Callable[[], Counts]
    faults: Callable[[], Counts]
    loaded_at: Callable[[], Counts]
    certificate_loaded: Callable[[], Counts]
    certificates_kept: Callable[[], Counts]
    covers: Callable[[], Counts]


class Sources(msgspec.Struct, frozen=True):
    """Where the page finds what it shows. `problems` are what keeps files from being in force, `findings` those of the
    registration, `breaker` that of a host, `others` whether one of those is open that only a pattern covers, `healthy`
    what is known of a target's health. `wall` is in unix seconds."""

    loaded: Callable[[], Loaded]
    problems: Callable[[], Sequence[str]]
    warnings: Callable[[], Sequence[str]]
    shown: Callable[[], Shown | None]
    findings: Callable[[], Sequence[str]]
    breaker: Callable[[str], Breaker | None]
    others: Callable[[], bool]
    numbers: Numbers
    recent: Recent
    wall: Callable[[], float]
    healthy: Callable[[str], bool | None] = lambda _: None


def status(sources: Sources, checks: Mapping[str, str], *, started: float) -> answers.Status:
    """What the process is and how it is; `checks` are those of readiness, `started` is in unix seconds."""
    loaded, numbers, now = sources.loaded(), sources.numbers, sources.wall()
    at = numbers.loaded_at().get(())
    return answers.Status(
        version=__version__,
        time=moment(now),
        started=moment(started),
        ready=not any(checks.values()),
        checks=[answers.Check(name, problem) for name, problem in checks.items()],
        configuration=answers.Configuration(
            file=str(loaded.path) if loaded.path is not None else None,
            stands_in_for=str(loaded.wanted) if loaded.wanted is not None else None,
            hash=loaded.hash,
            rules=len(loaded.rules.rules),
            loaded_at=moment(at) if at is not None else None,
            problems=list(sources.problems()),
            warnings=list(sources.warnings()),
        ),
        certificate=_certificate(sources.shown(), now),
        certificate_loaded=bool(numbers.certificate_loaded().get(())),
        certificates_kept=_whether(numbers.certificates_kept()),
        registration=answers.Registration(_whether(numbers.covers()), list(sources.findings())),
        reviews=_sums((labels[1], number) for labels, number in numbers.reviews().items()),
        turned_away=int(numbers.turned_away().get((), 0)),
        faults=int(numbers.faults().get((), 0)),
    )


def _whether(counts: Counts) -> bool | None:
    value = counts.get(())
    return bool(value) if value is not None else None


def _certificate(shown: Shown | None, now: float) -> answers.Certificate | None:
    if shown is None:
        return None
    state: Literal["valid", "expires soon", "expired", "not valid yet"] = "valid"
    if now < shown.starts:
        state = "not valid yet"
    elif now >= shown.expires:
        state = "expired"
    elif shown.expires - now < SOON:
        state = "expires soon"
    return answers.Certificate(moment(shown.starts), moment(shown.expires), sorted(shown.names), state)


def rules(sources: Sources) -> answers.Rules:
    """The rules in force."""
    counts = sources.numbers.images()
    return answers.Rules(
        [
            _rule(one, _sums((labels[1], number) for labels, number in counts.items() if labels[0] == one.name))
            for one in sources.loaded().rules.rules
        ],
        unmatched=sum(int(number) for labels, number in counts.items() if not labels[0]),
    )


def _rule(rule: core.Rule, counts: dict[str, int]) -> answers.Rule:
    spaces = rule.namespace_selector
    return answers.Rule(
        name=rule.name,
        images=list(rule.images.patterns),
        tags=list(rule.tags.patterns),
        namespaces=list(rule.namespaces.patterns),
        containers=list(rule.containers.patterns),
        pod_selector=[requirement(one) for one in rule.pod_selector],
        namespace_selector=[requirement(one) for one in spaces] if spaces is not None else None,
        upstream=[one.template for one in rule.upstream],
        targets=[one.name for one in rule.targets],
        pin=rule.pin,
        on_reuse=rule.on_reuse,
        on_pin_gone=rule.on_pin_gone,
        write=rule.write,
        on_failure=rule.on_failure,
        percent=rule.percent,
        decided=counts,
    )


def requirement(one: core.Requirement) -> str:
    """A line of a selector, as kubectl writes it."""
    values = ", ".join(one.values)
    match one.operator:
        case "In":
            return f"{one.key} in ({values})"
        case "NotIn":
            return f"{one.key} notin ({values})"
        case "Exists":
            return one.key
        case "DoesNotExist":
            return f"!{one.key}"


def registries(sources: Sources) -> answers.Registries:
    """The registries of the configuration in force."""
    known = sources.loaded().registries
    counts = sources.numbers.requests()
    return answers.Registries([_registry(one, sources, counts) for one in (*known.literal.values(), *known.patterns)])


def _registry(one: Registry, sources: Sources, counts: Counts) -> answers.Registry:
    is_pattern = "*" in one.host
    breaker = None if is_pattern else sources.breaker(one.host)
    why = breaker.refusal() if breaker is not None else None
    is_open = why is not None or (is_pattern and sources.others())
    label = OTHER if is_pattern else one.host
    return answers.Registry(
        host=one.host,
        credentials=[source.kind for source in one.credentials],
        plain_http=one.plain_http,
        max_in_flight=one.max_in_flight,
        breaker="open" if is_open else "closed",
        reason=why.reason.value if why is not None else None,
        seconds_left=round(breaker.seconds_left) if breaker is not None and why is not None else None,
        answers=_sums((labels[2], number) for labels, number in counts.items() if labels[0] == label),
    )


def targets(sources: Sources) -> answers.Targets:
    """The targets of the configuration in force."""
    of = sources.loaded().rules
    counts = sources.numbers.images()
    return answers.Targets([_target(one, of.rules, counts, sources.healthy) for one in of.targets])


def _target(
    one: Target, every: Iterable[core.Rule], counts: Counts, healthy: Callable[[str], bool | None]
) -> answers.Target:
    verify = one.verify
    return answers.Target(
        name=one.name,
        image=one.place.template,
        paths=list(one.paths.patterns),
        pull=one.pull,
        guard=one.guard,
        verify="off"
        if verify is None
        else "digest"
        if verify.at is None
        else f"{verify.scheme}://{verify.at.template}",
        platforms=list(verify.platforms) if verify is not None else [],
        health=_health(one, healthy),
        rules=[rule.name for rule in every if any(target.name == one.name for target in rule.targets)],
        images=sum(int(number) for labels, number in counts.items() if labels[3] == one.name),
    )


def _health(
    one: Target, healthy: Callable[[str], bool | None]
) -> Literal["unwatched", "unknown", "healthy", "unhealthy"]:
    if not one.gated:
        return "unwatched"
    known = healthy(one.name)
    if known is None:
        return "unknown"
    return "healthy" if known else "unhealthy"


def decisions(sources: Sources, wanted: Wanted, most: int) -> answers.Decisions:
    """Reviews of the last minutes."""
    found, more = sources.recent.find(wanted, most)
    shown: list[Seen] = []
    images = 0
    for seen in found:
        images += len(seen.decisions)
        if shown and images > IMAGES:
            more = True
            break
        shown.append(seen)
    return answers.Decisions([_review(one) for one in shown], more, sources.recent.too_large)


def _review(seen: Seen) -> answers.Review:
    return answers.Review(
        number=seen.number,
        time=moment(seen.at),
        uid=_cut(seen.uid),
        namespace=_cut(seen.namespace),
        resource=seen.resource,
        kind=_cut(seen.kind),
        workload=_cut(seen.workload),
        outcome=seen.outcome,
        milliseconds=round(seen.seconds * 1000, 1),
        images=[_image(one) for one in seen.decisions],
    )


def _image(one: Decision) -> answers.Image:
    told = msgspec.structs.asdict(explained(one))
    told |= {name: [_cut(line) for line in told[name]] for name in ("rules", "trace")}
    told |= {"image": _cut(told["image"]), "container": _cut(one.slot.container), "pointer": one.slot.pointer}
    return answers.Image(**told)


def _cut(text: str) -> str:
    """What an author wrote may be no name at all, and megabytes of it."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def moment(seconds: float) -> str:
    """Unix seconds as people and programs read them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sums(pairs: Iterable[tuple[str, float]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, number in pairs:
        sums[name] = sums.get(name, 0) + int(number)
    return sums
