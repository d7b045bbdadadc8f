"""The configuration file as it is written: one model a mapping, every setting described where it stands.

Models hold no unions, so that an error keeps its place; forms with a short spelling are brought into the long one
before they are checked.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from webhook.core.globs import Globs
from webhook.core.reference import is_host

API_VERSION: Final = "moorage.dev/v1alpha1"
KIND: Final = "Configuration"

_DURATION: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+", re.ASCII)
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", re.ASCII)
_UNIT: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: Any) -> float:
    """A duration as Kubernetes writes it, in seconds.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, float):
        return value
    text = str(value)
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no duration; write it as 500ms, 4s, 5m or 24h")
    return sum(float(number) * _UNIT[unit] for number, unit in _PART.findall(text))


def _percentage(value: Any) -> Any:
    return value.removesuffix("%").strip() if isinstance(value, str) else value


def _glob(value: Any) -> Any:
    text = str(value).removeprefix("!")
    if not text or any(blank in text for blank in " \t\n"):
        raise ValueError("a pattern may not be empty or hold blanks")
    if "***" in text or any(character in text for character in "[]{}\\"):
        raise ValueError("a pattern knows *, ** and ? only")
    Globs((text,)).matches("")
    return value


def _credential(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and "file" in value and "kind" not in value:
        return {"kind": "file", **value}
    return value


def _verify(value: Any) -> Any:
    if value == "off":
        return {"enabled": False}
    return {"enabled": True} if value == "digest" else value


def _host(value: Any) -> Any:
    text = str(value)
    if not is_host(text):
        raise ValueError(f"{text!r} is no host; write it without scheme and path, as auth.example.com")
    return value


Duration = Annotated[float, BeforeValidator(seconds)]
Pattern = Annotated[str, BeforeValidator(_glob)]
HostName = Annotated[str, BeforeValidator(_host)]
Percent = Annotated[int, BeforeValidator(_percentage), Field(ge=0, le=100)]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class Settings(BaseModel):
    """What all mappings share: camelCase outside, unknown keys refused, descriptions from the text under each field."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=_camel, populate_by_name=True, use_attribute_docstrings=True, frozen=True
    )


class Table(Settings):
    """A variable that follows from another one."""

    from_: str = Field(alias="from")
    """The variable whose value is looked up."""
    map: dict[str, str]
    """Its values and what they give. A value that is not listed is an error at start."""


class Credential(Settings):
    """One source of credentials."""

    kind: Literal["pod", "file", "ecr", "acr", "gar", "anonymous"]
    """`pod`: the Pod's pull secrets · `file`: a docker config of the operator's · `ecr`, `acr`, `gar`: the cloud's
    login · `anonymous`."""
    file: str | None = None
    """Path of the docker config, relative to this file."""
    namespaces: tuple[Pattern, ...] = ("*",)
    """Namespaces whose Pods it answers for."""
    paths: tuple[Pattern, ...] = ("**",)
    """Repository paths that it answers for."""


class Registry(Settings):
    """How a registry host is reached. Only hosts that stand literally in rules, targets or here are contacted."""

    credentials: tuple[Annotated[Credential, BeforeValidator(_credential)], ...] = (
        Credential(kind="pod"),
        Credential(kind="anonymous"),
    )
    """Where to log in from, in this order."""
    proxy: str | None = None
    """URL of an HTTP proxy; none unless said, whatever the environment holds."""
    realms: tuple[HostName, ...] = ()
    """Other hosts that may issue its tokens. The host itself and docker.io's own pair are built in."""
    ca: str | None = None
    """PEM file of the authorities to trust, relative to this file."""
    max_in_flight: int = Field(default=32, ge=1, le=1024)
    """Requests under way at once."""
    plain_http: bool = Field(default=False, alias="plainHTTP")
    """Speak HTTP without TLS."""
    allow_loopback: bool = False
    """Let the name lead to this very machine. Link-local, metadata and multicast addresses never are allowed."""


class Verify(Settings):
    """Ask the target whether it holds the digest before Pods are sent there."""

    enabled: bool = True
    """False for `verify: off`."""
    at: str | None = None
    """Where the webhook can ask, when that is not the image's own host: `http://host/{path}`."""
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
    paths: tuple[Pattern, ...] = ("**",)
    """Repository paths that it serves; others are not sent to it."""
    verify: Annotated[Verify, BeforeValidator(_verify)] = Verify(enabled=False)
    """`off`, `digest`, or a mapping."""
    health: Health | None = None
    """Gate on its health."""
    pull: Literal["anonymous", "node", "secret"] | None = None
    """Whose credentials the kubelet has there. Default: anonymous for localhost, else node."""
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

    pin: Literal["rollout", "pod", "off"] = "rollout"
    """One digest per rollout, per Pod, or none kept."""
    write: Literal["digest", "tagAndDigest", "tag", "record"] = "digest"
    """What is written into the Pod."""
    on_failure: Literal["admit", "refuse"] = "admit"
    """What happens when there is no digest."""


class Rule(Settings):
    """What is done with which images. The first rule that matches decides; nothing matches: untouched."""

    name: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
    """Names the rule in metrics, logs and warnings."""
    images: tuple[Pattern, ...] = Field(min_length=1)
    """Patterns over host/path; `*` within one part, `**` over parts, a leading `!` excludes."""
    tags: tuple[Pattern, ...] = ("*",)
    """Patterns over the tag."""
    namespaces: tuple[Pattern, ...] = ("*",)
    """Patterns over the namespace; a leading `!` wins wherever it stands."""
    namespace_selector: Selector | None = None
    """Labels that the namespace must have. Needs a cluster."""
    pod_selector: Selector | None = None
    """Labels that the Pod must have."""
    containers: tuple[Pattern, ...] = ("*",)
    """Patterns over the container's name."""
    upstream: tuple[str, ...] = Field(default=("{registry}",), min_length=1)
    """Where the tag is resolved; asked in order on outage, never on absence."""
    targets: tuple[str, ...] = ()
    """Keys of targets, or hosts; in order. upstream@digest is always the last. Empty: only pinned."""
    pin: Literal["rollout", "pod", "off"] | None = None
    """One digest per rollout, per Pod, or none kept."""
    on_reuse: Literal["keep", "fresh"] = "keep"
    """What a revision that comes back (undo, Git revert) gets."""
    on_pin_gone: Literal["repin", "keep"] = "repin"
    """What happens when the upstream deleted a pinned digest."""
    write: Literal["digest", "tagAndDigest", "tag", "record"] | None = None
    """`digest`, `tagAndDigest`, `tag` (host only, nothing resolved), `record` (image untouched)."""
    on_failure: Literal["admit", "refuse"] | None = None
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
    budget: Duration = 4.0
    """The longest that an admission may take."""
    entries: int = Field(default=10_000, ge=1, le=10_000_000)
    """How many answers are kept."""
    proxy: str | None = None
    """Proxy for all registries that name none."""
    ca: str | None = None
    """Authorities for all registries that name none."""


class Configuration(Settings):
    """The whole file."""

    api_version: Literal["moorage.dev/v1alpha1"]
    """The version of this format."""
    kind: Literal["Configuration"]
    """What this file is."""
    vars: dict[str, str] = {}
    """Values for `{name}` in targets and upstreams. MOORAGE_VAR_NAME in the environment wins over the file, `--set`
    over both."""
    tables: dict[str, Table] = Field(default={}, exclude=True)
    """Where `vars` entries of the form `{from: …, map: …}` end up; not written by hand."""
    registries: dict[str, Registry] = {}
    """Hosts and how they are reached; `*` stands for a part of one label."""
    targets: dict[str, Target] = {}
    """Places to pull from, by name."""
    rules: tuple[Rule, ...] = Field(min_length=1)
    """In order; the first match wins."""
    templates: dict[str, str] = {}
    """Further kinds with a Pod template: `Kind.group` to its JSON pointer, as `Rollout.argoproj.io: /spec/template`."""
    digests: str | None = None
    """A file of names and digests that are never asked for; written by `check --lock`."""
    defaults: Defaults = Defaults()
    """What rules that do not say otherwise do."""
    resolving: Resolving = Resolving()
    """How digests are found and kept."""
