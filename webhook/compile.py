"""From valid settings to the core's values: templates filled, names resolved, patterns normalised."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from webhook import lock, patterns
from webhook import settings as written
from webhook.beside import Beside
from webhook.contradictions import find_collisions, find_shadowed, find_twins
from webhook.core.freshness import Resolving
from webhook.core.globs import Globs
from webhook.core.hosts import Registries
from webhook.core.reference import DOCKER_HUB, is_host, looks_like_host
from webhook.core.rules import Requirement, Rule, RuleSet, Selector
from webhook.core.subject import TEMPLATES
from webhook.core.targets import Target, Verify, defaults_for
from webhook.document import BadDocument
from webhook.reach import HUB_NAMES, registries_of
from webhook.trouble import Findings, did_you_mean, pointer_to
from webhook.variables import Templates, values_of

DENIED: Final = 5.0
"""Seconds for which a 401 or 403 is believed, at most."""

_KIND: Final = re.compile(r"[A-Z][A-Za-z0-9]*(?:\.[a-z0-9.-]+)?", re.ASCII)
_POINTER: Final = re.compile(r"(?:/(?:[^/~]|~[01])+)+")
_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9]+(?:/[a-z0-9.]+)?", re.ASCII)


class Compiled(msgspec.Struct, frozen=True):
    """What the settings come to. `texts` are those of other files that were read for it, `wrong` mistakes in them."""

    rules: RuleSet
    registries: Registries
    resolving: Resolving
    variables: Mapping[str, str]
    files: tuple[Path, ...]
    texts: tuple[str, ...]
    wrong: tuple[BadDocument, ...]


def compiled(
    settings: written.Configuration,
    base: Path,
    environ: Mapping[str, str],
    given: Mapping[str, str],
    findings: Findings,
    *,
    with_lock: bool = True,
) -> Compiled:
    """The values; to be used only when the findings and `wrong` hold no trouble."""
    beside = Beside(base, findings)
    values = values_of(settings.vars, environ, given, findings)
    compiler = _Compiler(settings, values, findings)
    targets = {name: compiler.target(name, target) for name, target in settings.targets.items()}
    named = [target for target in targets.values() if target is not None]
    rules = [(number, compiler.rule(number, rule, targets)) for number, rule in enumerate(settings.rules)]
    if not rules and "/rules" not in findings.broken:
        findings.refuse("/rules", "at least one rule is wanted")
    for find in (find_twins, find_shadowed, find_collisions):
        find(rules, findings)
    compiler.check_given(given)
    registries = registries_of(settings, rules, named, beside, findings)
    text = beside.text("/digests", settings.digests if with_lock else None)
    locked, wrong = lock.read(text, str(beside.files[-1])) if text else ({}, [])
    rule_set = RuleSet(
        [rule for _, rule in rules], targets=named, locked=locked, templates=_templates(settings, findings)
    )
    return Compiled(
        rule_set,
        registries,
        _resolving(settings.resolving),
        values,
        tuple(beside.files),
        tuple(beside.texts),
        tuple(wrong),
    )


class _Compiler:
    """Compiles targets and rules, which share variables and the names of targets."""

    def __init__(self, settings: written.Configuration, values: Mapping[str, str], findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        # A variable that is there and has no value was told about already, and not again wherever it is used.
        told = {pointer.removeprefix("/vars/") for pointer in findings.broken if pointer.startswith("/vars/")}
        unknown = None if "/vars" in findings.broken else frozenset({*settings.vars, *told})
        self._templates = Templates(values, unknown, findings)

    def target(self, name: str, target: written.Target) -> Target | None:
        """One entry of `targets:`."""
        pointer = pointer_to("targets", name)
        if not name:
            self._findings.refuse(pointer, "a target needs a name", of_key=True)
        verify = self._verify(f"{pointer}/verify", target.verify) if target.verify is not None else None
        place = self._templates.place(f"{pointer}/image", target.image)
        if place is None:
            return None
        if place.host.startswith("{"):
            self._findings.refuse(f"{pointer}/image", "the host of a target cannot be the image's own")
            return None
        if target.health is not None:
            self._check_health(f"{pointer}/health", target.health)
        pull = target.pull or defaults_for(place.host)[0]
        guard: Literal["off", "warn"] = "warn" if pull == "anonymous" else "off"
        paths = patterns.paths(self._findings, f"{pointer}/paths", target.paths)
        return Target(name, place, paths, verify, target.health is not None, pull, target.guard or guard)

    def _check_health(self, pointer: str, health: written.Health) -> None:
        if (health.daemon_set is None) == (health.url is None):
            self._findings.refuse(pointer, "write either daemonSet: namespace/name or url: http://…")
        elif health.daemon_set is not None and not re.fullmatch(r"[a-z0-9.-]+/[a-z0-9.-]+", health.daemon_set):
            self._findings.refuse(f"{pointer}/daemonSet", "write it as namespace/name")
        self._findings.warn(pointer, "health is not watched in this version; the target is taken to be well")

    def _verify(self, pointer: str, verify: written.Verify) -> Verify:
        for number, platform in enumerate(verify.platforms):
            if _PLATFORM.fullmatch(platform) is None:
                self._findings.refuse(
                    f"{pointer}/platforms/{number}", f'"{platform}" is no platform; write it as linux/amd64'
                )
        if verify.at is None:
            return Verify(None, "https", verify.platforms)
        scheme, separator, rest = verify.at.partition("://")
        if not separator or scheme not in {"http", "https"}:
            self._findings.refuse(f"{pointer}/at", "write it as http://host/{path} or https://host/{path}")
            return Verify()
        place = self._templates.place(f"{pointer}/at", rest)
        return Verify(place, "http" if scheme == "http" else "https", verify.platforms)

    def rule(self, number: int, rule: written.Rule, targets: Mapping[str, Target | None]) -> Rule:
        """One entry of `rules:`."""
        pointer = pointer_to("rules", number)
        defaults = self._settings.defaults
        images = self._images(f"{pointer}/images", rule.images)
        upstream = [
            self._templates.place(f"{pointer}/upstream/{index}", text if "/" in text else f"{text}/{{path}}")
            for index, text in enumerate(rule.upstream)
        ]
        if not rule.upstream:
            self._findings.refuse(
                f"{pointer}/upstream", "at least one upstream is wanted; {registry} is the image's own"
            )
        found = self._targets(f"{pointer}/targets", rule.targets, targets)
        write = rule.write or defaults.write
        for target in found if write == "tag" else ():
            if target.asks_no_password:
                message = f"{target.name} asks no password, and a tag is no proof that the Pod may have the image"
                self._findings.warn(f"{pointer}/targets", message)
        return Rule(
            rule.name,
            Globs(images),
            self._globs(f"{pointer}/tags", rule.tags),
            patterns.namespaces(self._findings, f"{pointer}/namespaces", rule.namespaces),
            self._globs(f"{pointer}/containers", rule.containers),
            self._selector(f"{pointer}/podSelector", rule.pod_selector) or (),
            self._selector(f"{pointer}/namespaceSelector", rule.namespace_selector),
            tuple(place for place in upstream if place is not None),
            found,
            rule.pin or defaults.pin,
            rule.on_reuse,
            rule.on_pin_gone,
            write,
            rule.on_failure or defaults.on_failure,
            rule.percent,
        )

    def _globs(self, pointer: str, listed: tuple[str, ...]) -> Globs:
        self._findings.want_patterns(pointer, listed)
        return Globs(listed)

    def _images(self, pointer: str, listed: tuple[str, ...]) -> tuple[str, ...]:
        if all(pattern.startswith("!") for pattern in listed):
            self._findings.refuse(pointer, "at least one pattern must include images")
        for number, pattern in enumerate(listed):
            problem = _image_problem(pattern.removeprefix("!"))
            if problem is not None:
                self._findings.refuse(f"{pointer}/{number}", problem)
        return tuple(map(_normal, listed))

    def _targets(
        self, pointer: str, names: tuple[str, ...], targets: Mapping[str, Target | None]
    ) -> tuple[Target, ...]:
        found: dict[str, Target] = {}
        for number, name in enumerate(names):
            target = self._target_named(f"{pointer}/{number}", name, targets)
            if target is not None and name in found:
                self._findings.refuse(f"{pointer}/{number}", f"{name} stands here twice")
            elif target is not None:
                found[name] = target
        return tuple(found.values())

    def _target_named(self, pointer: str, name: str, targets: Mapping[str, Target | None]) -> Target | None:
        if name in targets:
            return targets[name]
        if is_host(name) and looks_like_host(name):
            return Target.of_host(name)
        if not {"/targets", pointer_to("targets", name)} & self._findings.broken:
            hint = did_you_mean(name, list(targets))
            self._findings.refuse(pointer, f'there is no target "{name}", and it is no host{hint}')
        return None

    def _selector(self, pointer: str, selector: written.Selector | None) -> Selector | None:
        if selector is None:
            return None
        for number, one in enumerate(selector.match_expressions):
            if (one.operator in {"In", "NotIn"}) != bool(one.values):
                wants = "needs values" if not one.values else "takes no values"
                self._findings.refuse(f"{pointer}/matchExpressions/{number}", f"{one.operator} {wants}")
        labels = tuple(Requirement(key, "In", (value,)) for key, value in selector.match_labels.items())
        return labels + tuple(Requirement(one.key, one.operator, one.values) for one in selector.match_expressions)

    def check_given(self, given: Mapping[str, str]) -> None:
        """Warn of `--set` variables that nothing asks for."""
        known = {*self._templates.used, *self._settings.vars}
        known |= {one.from_ for one in self._settings.vars.values() if one.from_ is not None}
        for name in given:
            if name not in known:
                hint = did_you_mean(name, sorted(known))
                self._findings.warn("", f"--set {name}: nothing in the configuration asks for this variable{hint}")


def _normal(pattern: str) -> str:
    mark = "!" if pattern.startswith("!") else ""
    host, slash, path = pattern.removeprefix("!").partition("/")
    return f"{mark}{HUB_NAMES.get(host, host)}{slash}{path}"


def _image_problem(pattern: str) -> str | None:
    """Why a pattern over host/path can match no image; None when it can."""
    host, slash, path = pattern.partition("/")
    if "://" in pattern:
        return f'write it without scheme (did you mean "{pattern.partition("://")[2]}"?)'
    if pattern == "**":
        return None
    if not (looks_like_host(host) or "*" in host or "?" in host):
        return f'"{host}" is no registry host (did you mean "{_on_hub(pattern)}"?)'
    if not slash:
        hint = f"{_on_hub(pattern)}" if ":" in host and "." not in host.partition(":")[0] else f"{host}/**"
        return f'it names no path (did you mean "{hint}"?)'
    if "**" not in host and not is_host(host.replace("*", "x").replace("?", "x")):
        return f'"{host}" is no registry host'
    if "@" in path or ":" in path:
        return f'a pattern ends before the tag; write that under tags (did you mean "{_without_tag(pattern)}"?)'
    if not path.islower() and any(character.isupper() for character in path):
        return f'paths of images are lower-case (did you mean "{host}/{path.lower()}"?)'
    if not path or path.startswith("/") or path.endswith("/"):
        return f'it ends at a slash (did you mean "{pattern.strip("/")}/**"?)'
    if HUB_NAMES.get(host, host) == DOCKER_HUB and "/" not in path and "**" not in path:
        return f'images of docker.io have two parts (did you mean "{DOCKER_HUB}/library/{path}"?)'
    return None


def _without_tag(pattern: str) -> str:
    host, _, path = pattern.partition("/")
    return f"{host}/{re.split('[:@]', path)[0]}"


def _on_hub(pattern: str) -> str:
    name = pattern.partition(":")[0]
    return f"{DOCKER_HUB}/{name}" if "/" in name else f"{DOCKER_HUB}/library/{name}"


def _templates(settings: written.Configuration, findings: Findings) -> dict[str, str]:
    for kind, pointer in settings.templates.items():
        where = pointer_to("templates", kind)
        if _KIND.fullmatch(kind) is None:
            findings.refuse(where, f'"{kind}" is no kind; write it as Rollout.argoproj.io', of_key=True)
        if _POINTER.fullmatch(pointer) is None:
            findings.refuse(where, f'"{pointer}" is no JSON pointer; write it as /spec/template')
    return {**TEMPLATES, **settings.templates}


def _resolving(one: written.Resolving) -> Resolving:
    return Resolving(one.fresh, one.stale, one.not_found, min(DENIED, one.not_found), one.budget, one.entries, one.pins)
