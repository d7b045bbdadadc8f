"""The configuration file as it is written: one model a mapping, every setting described where it stands.

Models hold no unions, so that an error keeps its place; forms with a short spelling are brought into the long one
before they are checked.
"""

import re
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainSerializer, model_validator

from webhook.core.reference import is_host

API_VERSION: Final = "moorage.dev/v1alpha1"
KIND: Final = "Configuration"
DURATION: Final = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"

_DURATION: Final = re.compile(DURATION, re.ASCII)
_STEP: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_UNIT: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_AT_LEAST_ONE: Final[dict[str, JsonValue]] = {"minItems": 1}
"""Told to editors; the check itself is made where a rule is compiled, so that one empty list hides nothing else."""


def seconds(value: Any) -> float:
    """A duration as Kubernetes writes it, in seconds.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, float):
        return value
    text = str(value)
    if _DURATION.fullmatch(text) is None:
        hint = f' (did you mean "{text}s"?)' if text.isdecimal() else ""
        raise ValueError(f'"{text}" is no duration; write it as 500ms, 4s, 5m or 24h{hint}')
    return sum(float(number) * _UNIT[unit] for number, unit in _STEP.findall(text))


def duration(value: float) -> str:
    """Seconds as Kubernetes writes a duration, in the largest unit that leaves a whole number."""
    for unit, size in _UNIT.items():
        count = value / size
        if count >= 1 and abs(count - round(count)) < 1e-9:
            return f"{round(count)}{unit}"
    return "0s" if value == 0 else f"{value:g}s"


def _percentage(value: Any) -> Any:
    return value.removesuffix("%").strip() if isinstance(value, str) else value


def _glob(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.removeprefix("!")
    if not text or any(blank in text for blank in " \t\r\n"):
        raise ValueError("a pattern may not be empty or hold blanks")
    wrong = next((character for character in "[]{}\\!^$|()" if character in text), None)
    if wrong is not None or "***" in text:
        raise ValueError(f'"{text}" is no pattern: it knows *, ** and ? only, and ! at its start')
    return value


def _variable(value: Any) -> Any:
    return {"value": value} if isinstance(value, str) else value


def _credential(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and "file" in value and "kind" not in value:
        return {"kind": "file", **value}
    return value


def _verify(value: Any) -> Any:
    if value == "off":
        return None
    if isinstance(value, str) and value != "digest":
        raise ValueError("off, digest or a mapping is wanted")
    return {} if value == "digest" else value


def _host(value: Any) -> Any:
    if isinstance(value, str) and not is_host(value):
        name = value.partition("://")[2].partition("/")[0]
        hint = f' (did you mean "{name}"?)' if name and is_host(name) else ""
        raise ValueError(f"this is no host; write it without scheme and path, as auth.example.com{hint}")
    return value


def _file(value: Any) -> Any:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("the name of a file is wanted")
    return value


def _proxy(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        url = urlsplit(value)
        good = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("this is no URL of a proxy; write it as http://proxy.example.com:3128")
    if url.username is not None:
        raise ValueError("a login does not belong in this file; let the proxy know the webhook by its address")
    return value


Duration = Annotated[
    float,
    BeforeValidator(seconds, json_schema_input_type=Annotated[str, Field(pattern=DURATION)]),
    PlainSerializer(duration),
]
Pattern = Annotated[str, BeforeValidator(_glob, json_schema_input_type=str)]
HostName = Annotated[str, BeforeValidator(_host, json_schema_input_type=str)]
FileName = Annotated[str, BeforeValidator(_file, json_schema_input_type=str)]
Proxy = Annotated[str, BeforeValidator(_proxy, json_schema_input_type=str)]
Percent = Annotated[
    int,
    Field(ge=0, le=100),
    BeforeValidator(_percentage, json_schema_input_type=int | Annotated[str, Field(pattern="^[0-9]{1,3} ?%$")]),
]
CredentialKind = Literal["pod", "file", "ecr", "acr", "gar", "anonymous"]
Pin = Literal["rollout", "pod", "off"]
Write = Literal["digest", "tagAndDigest", "tag", "record"]
OnFailure = Literal["admit", "refuse"]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class Settings(BaseModel):
    """What all mappings share: camelCase outside, unknown keys refused, described by the text under each field.

    Pydantic could collect these texts itself, at the price of reading the source at every start; `schema` does it when
    it is asked.
    """

    model_config = ConfigDict(extra="forbid", alias_generator=_camel, frozen=True, defer_build=True)

    # Keys that narrow a grant: with nothing behind them it would be wider than its author meant.
    narrowing: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _take_nothing_for_unset(cls, value: Any) -> Any:
        """A key with nothing behind it is no key: what stood there may be commented out. Kubernetes takes it so too."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            return value
        wanted = {
            field.alias or name for name, field in cls.model_fields.items() if field.is_required()
        } | cls.narrowing
        return {key: inner for key, inner in value.items() if inner is not None or key in wanted}


class Variable(Settings):
    """A text, or a table that looks it up by the value of another variable."""

    value: str | None = None
    """The text."""
    from_: str | None = Field(default=None, alias="from")
    """The variable whose value is looked up."""
    map: dict[str, str] = {}
    """Its values and what they give. A value that is not listed is an error at start."""


class Credential(Settings):
    """One source of credentials."""

    narrowing: ClassVar[frozenset[str]] = frozenset({"namespaces", "paths"})

    kind: CredentialKind
    """`pod`: the Pod's pull secrets, else those of its service account · `file`: a docker config of the operator's ·
    `ecr`, `acr`, `gar`: Moorage's own login at the cloud · `anonymous`: none, and not after another was refused."""
    file: FileName | None = None
    """Path of the docker config, relative to this file."""
    namespaces: tuple[Pattern, ...] = Field(default=("*",), json_schema_extra=_AT_LEAST_ONE)
    """Namespaces whose Pods it answers for."""
    paths: tuple[Pattern, ...] = Field(default=("**",), json_schema_extra=_AT_LEAST_ONE)
    """Repository paths that it answers for."""


def _usual_credentials() -> tuple[Credential, ...]:
    return (Credential(kind="pod"), Credential(kind="anonymous"))


class Registry(Settings):
    """How a registry host is reached. Only hosts that stand literally in rules, targets or here are contacted."""

    credentials: tuple[
        Annotated[Credential, BeforeValidator(_credential, json_schema_input_type=CredentialKind | Credential)], ...
    ] = Field(default_factory=_usual_credentials)
    """Where to log in from, in this order."""
    proxy: Proxy | None = None
    """URL of an HTTP proxy; none unless said, whatever the environment holds."""
    realms: tuple[HostName, ...] = ()
    """Other hosts that may issue its tokens. The host itself, and those of docker.io and registry.gitlab.com, are built in."""
    ca: FileName | None = None
    """PEM file of authorities to trust besides the system's, relative to this file."""
    max_in_flight: int = Field(default=32, ge=1, le=1024)
    """Requests under way at once."""
    plain_http: bool = Field(default=False, alias="plainHTTP")
    """Speak HTTP without TLS. Whoever is on the way reads the logins, too."""
    allow_loopback: bool = False
    """Let the name lead to this very machine. Link-local, metadata and multicast addresses never are allowed."""
    proxy_cache: bool = False
    """It fetches images when they are first asked for and answers 404 to HEAD until then: ask by GET before believing it."""


class Verify(Settings):
    """Ask the target whether it holds the digest before Pods are sent there."""

    at: str | None = None
    """Where the webhook can ask, when that is not the image's own host: `http://host/{path}`. Over http no login is sent,
    unless `plainHTTP` is said of the host under `registries`."""
    platforms: tuple[str, ...] = ()
    """Children of an index to ask for too, as linux/amd64."""


class Health(Settings):
    """When a node-local cache counts as well."""

    daemon_set: str | None = None
    """namespace/name of the DaemonSet that serves it."""
    ready: Percent = 90
    """The share of its Pods that must be ready."""
    url: str | None = None
    """A URL that answers 200 while it is well."""
    interval: Duration = 10.0
    """How often to look."""


class Target(Settings):
    """A place that Pods can pull from."""

    image: str
    """Template of the image's name there: `{registry}`, `{path}`, `{repository}` and the variables."""
    paths: tuple[Pattern, ...] = Field(default=("**",), json_schema_extra=_AT_LEAST_ONE)
    """Repository paths that it serves; others are not sent to it."""
    verify: Annotated[
        Verify | None, BeforeValidator(_verify, json_schema_input_type=Literal["off", "digest"] | Verify)
    ] = None
    """`off`, `digest`, or a mapping."""
    health: Health | None = None
    """Gate on its health."""
    pull: Literal["anonymous", "node", "secret"] | None = None
    """Whose credentials the kubelet has there. Default: anonymous for localhost, else node. To a target with `secret` goes
    no Pod whose pull secrets, or those of its service account, hold no login for it, as far as Moorage may read them."""
    guard: Literal["off", "warn", "refuse"] | None = None
    """What happens to Pods that name this target by hand. Default: warn where pull is anonymous, else off."""


class Expression(Settings):
    """One line of a label selector."""

    key: str
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared."""
    values: tuple[str, ...] = ()
    """With what."""


class Selector(Settings):
    """A label selector as Kubernetes writes it."""

    match_labels: dict[str, str] = {}
    """Labels and their values; all must be there."""
    match_expressions: tuple[Expression, ...] = ()
    """Further conditions; all must hold."""


class Defaults(Settings):
    """What rules that do not say otherwise do."""

    pin: Pin = "rollout"
    """`rollout`: one digest for all Pods of a rollout · `pod`, `off`: each Pod by itself."""
    write: Write = "digest"
    """What is written into the Pod."""
    on_failure: OnFailure = "admit"
    """What happens when there is no digest."""


class Rule(Settings):
    """What is done with which images. The first rule that matches decides; nothing matches: untouched."""

    name: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
    """Names the rule in metrics, logs and warnings."""
    images: tuple[Pattern, ...] = Field(json_schema_extra=_AT_LEAST_ONE)
    """Patterns over host/path; `*` within one part, `**` over parts, a leading `!` excludes."""
    tags: tuple[Pattern, ...] = Field(default=("*",), json_schema_extra=_AT_LEAST_ONE)
    """Patterns over the tag."""
    namespaces: tuple[Pattern, ...] = Field(default=("*",), json_schema_extra=_AT_LEAST_ONE)
    """Patterns over the namespace; a leading `!` wins wherever it stands."""
    namespace_selector: Selector | None = None
    """Labels that the namespace must have. Needs a cluster."""
    pod_selector: Selector | None = None
    """Labels that the Pod must have."""
    containers: tuple[Pattern, ...] = Field(default=("*",), json_schema_extra=_AT_LEAST_ONE)
    """Patterns over the container's name."""
    upstream: tuple[str, ...] = Field(default=("{registry}",), json_schema_extra=_AT_LEAST_ONE)
    """Where the tag is resolved; asked in order on outage, never on absence."""
    targets: tuple[str, ...] = ()
    """Keys of targets, or hosts; in order. upstream@digest is always the last. Empty: only pinned."""
    pin: Pin | None = None
    """`rollout`: one digest for all Pods of a rollout · `pod`, `off`: each Pod by itself."""
    on_reuse: Literal["keep", "fresh"] = "keep"
    """What a revision that comes back (undo, Git revert) gets."""
    on_pin_gone: Literal["repin", "keep"] = "repin"
    """What happens when the upstream deleted a pinned digest."""
    write: Write | None = None
    """`digest`, `tagAndDigest`, `tag` (host only, nothing resolved), `record` (image untouched)."""
    on_failure: OnFailure | None = None
    """`admit` unchanged with a warning, or `refuse`."""
    percent: Percent = 100
    """Share of the workloads that are rewritten; the rest are only pinned."""


class Resolving(Settings):
    """How digests are found and kept."""

    fresh: Duration = 30.0
    """How long an answer of an upstream is used without asking again."""
    stale: Duration = 86_400.0
    """How long it is used when the upstream cannot be asked."""
    not_found: Duration = 10.0
    """How long "there is no such image" is believed."""
    budget: Annotated[Duration, Field(gt=0, le=30)] = 4.0
    """The longest that an admission may take."""
    entries: int = Field(default=10_000, ge=1, le=10_000_000)
    """How many answers are kept."""
    pins: Duration = 60.0
    """How long a rollout's pin is used before its revision is read again at the API server."""
    proxy: Proxy | None = None
    """Proxy for all registries that name none."""
    ca: FileName | None = None
    """Authorities, besides the system's, for all registries that name none."""


class Configuration(Settings):
    """The whole file."""

    api_version: Literal["moorage.dev/v1alpha1"]
    """The version of this format."""
    kind: Literal["Configuration"]
    """What this file is."""
    vars: dict[str, Annotated[Variable, BeforeValidator(_variable, json_schema_input_type=str | Variable)]] = {}
    """Texts for `{name}` in targets and upstreams: `region: eu-west-1`, or a table
    `{from: region, map: {eu-west-1: …}}`. MOORAGE_VAR_NAME in the environment wins over the file, `--set NAME=VALUE`
    over both."""
    registries: dict[str, Registry] = {}
    """Hosts and how they are reached; `*` stands for a part of one label."""
    targets: dict[str, Target] = {}
    """Places to pull from, by name."""
    rules: tuple[Rule, ...] = Field(json_schema_extra=_AT_LEAST_ONE)
    """In order; the first match wins."""
    templates: dict[str, str] = {}
    """Further kinds with a Pod template: `Kind.group` to its JSON pointer, as `Rollout.argoproj.io: /spec/template`."""
    digests: FileName | None = None
    """A file of names and digests that are never asked for; written by `check --lock`."""
    defaults: Defaults = Field(default_factory=Defaults)
    """What rules that do not say otherwise do."""
    resolving: Resolving = Field(default_factory=Resolving)
    """How digests are found and kept."""
