"""What the page's API says: its shapes, from which its OpenAPI document is made. Times are RFC 3339, in UTC."""

from typing import Literal

import msgspec

from webhook.core.explanation import Explanation


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """One shape of an answer."""


Outcome = Literal["changed", "untouched", "failed", "refused", "error", "abandoned"]
"""What came of a review, in the words of the metrics."""


class Check(Answer, frozen=True):
    """Something that readiness rests on; `problem` is empty when it is well."""

    name: str
    problem: str


class Configuration(Answer, frozen=True):
    """The configuration in force. `file` is null where there is none; `standsInFor` names the operator's own while that is
    not there yet. `loadedAt` is when a load last worked, `problems` are
    what keeps newer files (also of certificates and path secrets) from being in force, `warnings` what is doubtful in it."""

    file: str | None
    stands_in_for: str | None
    hash: str
    rules: int
    loaded_at: str | None
    problems: list[str]
    warnings: list[str]


class Certificate(Answer, frozen=True):
    """The certificate that callers are shown: from when to when, and for which names. `state` is `valid`, `expires soon`
    (within a week), `expired` or `not valid yet`."""

    starts: str
    expires: str
    names: list[str]
    state: Literal["valid", "expires soon", "expired", "not valid yet"]


class Registration(Answer, frozen=True):
    """Whether all that the rules are about reaches Moorage, by the live registration; null where it could not be read, or
    there is no cluster. `findings` are what is missing or doubtful, as it was seen last."""

    covers: bool | None
    findings: list[str]


class Status(Answer, frozen=True):
    """The process that answers. `certificateLoaded` says whether the certificate that was found last is the one that is
    shown, `certificatesKept` whether Secret and registration are as they should be (null from a replica that does not keep
    them). `reviews` counts those that it answered since its start, by outcome."""

    version: str
    time: str
    started: str
    ready: bool
    checks: list[Check]
    configuration: Configuration
    certificate: Certificate | None
    certificate_loaded: bool
    certificates_kept: bool | None
    registration: Registration
    reviews: dict[str, int]
    turned_away: int
    faults: int


class Rule(Answer, frozen=True):
    """A rule as it is compiled: globs, selectors and templates as text, targets by name. `decided` counts images of Pods
    since the start, by what was done with them."""

    name: str
    images: list[str]
    tags: list[str]
    namespaces: list[str]
    containers: list[str]
    pod_selector: list[str]
    namespace_selector: list[str] | None
    upstream: list[str]
    targets: list[str]
    pin: str
    on_reuse: str
    on_pin_gone: str
    write: str
    on_failure: str
    percent: int
    decided: dict[str, int]


class Rules(Answer, frozen=True):
    """The rules, in the order in which they are tried. `unmatched` counts images of Pods that none of them matches."""

    rules: list[Rule]
    unmatched: int


class Registry(Answer, frozen=True):
    """A registry that may be asked. A host with `*` stands for many, whose breakers and answers are told together.
    `credentials` are kinds, in the order in which they are tried; `breaker` is `open` while it is left alone, for
    `secondsLeft`, because of `reason`. `answers` counts requests by status, or by the reason where there was none."""

    host: str
    credentials: list[str]
    plain_http: bool
    max_in_flight: int
    breaker: Literal["closed", "open"]
    reason: str | None
    seconds_left: int | None
    answers: dict[str, int]


class Registries(Answer, frozen=True):
    """The registries of the configuration. No other host is contacted."""

    registries: list[Registry]


class Target(Answer, frozen=True):
    """A place to pull from. `health` is `unwatched` where the configuration does not gate on it, and `unknown` where it does
    and nobody has looked. `images` counts decisions on images of Pods that were sent there."""

    name: str
    image: str
    paths: list[str]
    pull: str
    guard: str
    verify: str
    platforms: list[str]
    health: Literal["unwatched", "unknown", "healthy", "unhealthy"]
    rules: list[str]
    images: int


class Targets(Answer, frozen=True):
    """The targets of the configuration, with those that rules name by their host."""

    targets: list[Target]


class Image(Explanation, frozen=True):
    """One image of a review. `container` is the container's or volume's name, `pointer` the JSON pointer to the image."""

    container: str = ""
    pointer: str = ""


class Review(Answer, frozen=True):
    """A review that was answered, with what was decided. `number` counts up."""

    number: int
    time: str
    uid: str
    namespace: str
    resource: str
    kind: str
    workload: str
    outcome: str
    milliseconds: float
    images: list[Image]


class Decisions(Answer, frozen=True):
    """Reviews, newest first. `more` says that older ones fit, to be had with `before`; `tooLarge` counts those since the
    start that were too large to be kept."""

    reviews: list[Review]
    more: bool
    too_large: int


class Trouble(Answer, frozen=True):
    """Why there is no answer, and what to do."""

    error: str


ANSWERS = (Status, Rules, Registries, Targets, Decisions, Trouble)
