"""From valid settings to the core's values: variables filled, names resolved, contradictions found."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from webhook import settings as written
from webhook.core.freshness import Resolving
from webhook.core.globs import Globs
from webhook.core.hosts import CredentialSource, Registries, Registry
from webhook.core.reference import BadReference, Reference, is_digest, is_host, looks_like_host
from webhook.core.rules import Requirement, Rule, RuleSet, Selector
from webhook.core.subject import TEMPLATES
from webhook.core.targets import PLACEHOLDERS, Place, Target, Verify, defaults_for
from webhook.document import BadDocument, documents

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HUB: Final = {"index.docker.io": "docker.io"}
_SAMPLE: Final = Reference("registry.example.com", "team/app")
_LATER: Final = frozenset({"ecr", "acr", "gar"})


class Trouble(msgspec.Struct, frozen=True):
    """Something wrong at a place of the file, given by its JSON pointer."""

    pointer: str
    message: str
    of_key: bool = False


class Compiled(msgspec.Struct, frozen=True):
    """What the settings come to."""

    rules: RuleSet
    registries: Registries
    resolving: Resolving
    variables: Mapping[str, str]


class Compiler:
    """Compiles once; `troubles`, `warnings` and `files` tell afterwards what was found on the way."""

    def __init__(
        self, settings: written.Configuration, base: Path, environ: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._base = base
        self.troubles: list[Trouble] = []
        self.warnings: list[Trouble] = []
        self.files: list[Path] = []
        self._variables = self._filled({**settings.vars, **environ, **variables})

    def compile(self) -> Compiled | None:
        """The values, or None when `troubles` says why not."""
        targets = {name: self._target(name, target) for name, target in self._settings.targets.items()}
        rules = [self._rule(f"/rules/{number}", rule, targets) for number, rule in enumerate(self._settings.rules)]
        self._find_twins()
        self._find_shadowed(rules)
        self._find_collisions(rules)
        registries = self._registries(rules, [target for target in targets.values() if target is not None])
        locked = self._locked()
        templates = self._templates()
        if self.troubles:
            return None
        named = [target for target in targets.values() if target is not None]
        rule_set = RuleSet(
            [rule for rule in rules if rule is not None], targets=named, locked=locked, templates=templates
        )
        return Compiled(rule_set, Registries(registries), self._resolving(), self._variables)

    def _trouble(self, pointer: str, message: str) -> None:
        self.troubles.append(Trouble(pointer, message))

    def _filled(self, variables: dict[str, str]) -> dict[str, str]:
        """All variables, those with a table looked up."""
        for name, table in self._settings.tables.items():
            if name in variables:
                continue
            chosen = variables.get(table.from_)
            if chosen is None:
                self._trouble(f"/vars/{name}/from", f'there is no variable "{table.from_}"')
            elif chosen not in table.map:
                known = ", ".join(table.map)
                self._trouble(
                    f"/vars/{name}/map", f'no entry for "{chosen}", the value of {table.from_} (there is {known})'
                )
            else:
                variables[name] = table.map[chosen]
        return variables

    def _template(self, pointer: str, text: str) -> Place | None:
        """A template with its variables filled."""
        for name in _PLACEHOLDER.findall(text):
            if name not in PLACEHOLDERS and name not in self._variables:
                known = ", ".join([*PLACEHOLDERS, *self._variables])
                self._trouble(pointer, f"there is no placeholder or variable {{{name}}} (there is {known})")
                return None
        filled = _PLACEHOLDER.sub(lambda found: self._variables.get(found[1], found[0]), text)
        place = Place(filled)
        host = filled.partition("/")[0]
        if host != "{registry}" and (not is_host(host) or not looks_like_host(host)):
            self._trouble(pointer, f'"{host}" is no registry host: it holds no dot, no port, and is not localhost')
            return None
        try:
            place.fill(_SAMPLE)
        except BadReference as bad:
            self._trouble(pointer, f"it gives no image name: {bad}")
            return None
        return place

    def _target(self, name: str, target: written.Target) -> Target | None:
        pointer = f"/targets/{name.replace('~', '~0').replace('/', '~1')}"
        place = self._template(f"{pointer}/image", target.image)
        if place is None:
            return None
        if "{" not in target.image:
            self._trouble(
                f"{pointer}/image", "every image would get the same name; write {path} where its path belongs"
            )
        if place.host.startswith("{"):
            self._trouble(f"{pointer}/image", "the host of a target cannot be the image's own")
            return None
        if target.health is not None:
            self.warnings.append(
                Trouble(f"{pointer}/health", "health is not watched in this version; the target is used unseen")
            )
        pull = target.pull or defaults_for(place.host)[0]
        implied: Literal["off", "warn"] = "warn" if pull == "anonymous" else "off"
        return Target(
            name,
            place,
            Globs(target.paths),
            self._verify(pointer, target.verify) if target.verify.enabled else None,
            target.health is not None,
            pull,
            target.guard or implied,
        )

    def _verify(self, pointer: str, verify: written.Verify) -> Verify:
        if verify.at is None:
            return Verify(None, "https", verify.platforms)
        scheme, separator, rest = verify.at.partition("://")
        if not separator or scheme not in {"http", "https"}:
            self._trouble(f"{pointer}/verify/at", "write it as http://host/{path} or https://host/{path}")
            return Verify()
        place = self._template(f"{pointer}/verify/at", rest)
        return Verify(place, "http" if scheme == "http" else "https", verify.platforms)

    def _rule(self, pointer: str, rule: written.Rule, targets: Mapping[str, Target | None]) -> Rule | None:
        images = self._images(f"{pointer}/images", rule.images)
        upstream = [
            self._template(f"{pointer}/upstream/{number}", text if "/" in text else f"{text}/{{path}}")
            for number, text in enumerate(rule.upstream)
        ]
        found = [
            self._named_target(f"{pointer}/targets/{number}", name, targets) for number, name in enumerate(rule.targets)
        ]
        if rule.namespace_selector is not None:
            message = "namespace labels are known in a cluster only; without one this rule never matches"
            self.warnings.append(Trouble(f"{pointer}/namespaceSelector", message))
        defaults = self._settings.defaults
        write = rule.write or defaults.write
        for target in found:
            if write == "tag" and target is not None and target.asks_no_password:
                message = (
                    f"target {target.name} asks no password, and a tag carries no proof that the Pod may have the image"
                )
                self.warnings.append(Trouble(f"{pointer}/targets", message))
        return Rule(
            rule.name,
            Globs(images),
            Globs(rule.tags),
            Globs(rule.namespaces),
            Globs(rule.containers),
            _selector(rule.pod_selector) or (),
            _selector(rule.namespace_selector),
            tuple(place for place in upstream if place is not None),
            tuple(target for target in found if target is not None),
            rule.pin or defaults.pin,
            rule.on_reuse,
            rule.on_pin_gone,
            write,
            rule.on_failure or defaults.on_failure,
            rule.percent,
        )

    def _images(self, pointer: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if all(pattern.startswith("!") for pattern in patterns):
            self._trouble(pointer, "at least one pattern must include images")
        normal = []
        for number, pattern in enumerate(patterns):
            mark, text = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
            host, slash, rest = text.partition("/")
            if not (looks_like_host(host) or "*" in host) or (not slash and text != "**"):
                suggestion = f"docker.io/{text if slash else f'library/{text}'}"
                if looks_like_host(host) and not slash:
                    suggestion = f"{text}/**"
                self._trouble(f"{pointer}/{number}", f'"{text}" names no registry host; did you mean "{suggestion}"?')
            normal.append(mark + f"{_HUB.get(host, host)}{slash}{rest}")
        return tuple(normal)

    def _named_target(self, pointer: str, name: str, targets: Mapping[str, Target | None]) -> Target | None:
        if name in targets:
            return targets[name]
        if is_host(name) and looks_like_host(name):
            return Target.of_host(name)
        from difflib import get_close_matches  # noqa: PLC0415 - only for a message

        close = get_close_matches(name, list(targets), n=1, cutoff=0.5)
        hint = f' (did you mean "{close[0]}"?)' if close else ""
        self._trouble(pointer, f'there is no target "{name}", and it is no host{hint}')
        return None

    def _find_twins(self) -> None:
        seen: set[str] = set()
        for number, rule in enumerate(self._settings.rules):
            if rule.name in seen:
                self._trouble(f"/rules/{number}/name", f'another rule is called "{rule.name}" already')
            seen.add(rule.name)

    def _find_shadowed(self, rules: list[Rule | None]) -> None:
        everything = [number for number, rule in enumerate(rules) if rule is not None and _is_open(rule)]
        for number, rule in enumerate(rules):
            for earlier in everything:
                first = rules[earlier]
                if rule is None or first is None or earlier >= number:
                    continue
                if set(rule.images.patterns) <= set(first.images.patterns) or "**" in first.images.patterns:
                    message = f'it never decides: rule "{first.name}" before it matches the same images'
                    self.warnings.append(Trouble(f"/rules/{number}", message))
                    break

    def _find_collisions(self, rules: list[Rule | None]) -> None:
        """Images of two registries that would end under one name of a target."""
        first: dict[str, tuple[str, str]] = {}
        for number, rule in enumerate(rules):
            for target in rule.targets if rule is not None else ():
                if rule is None or "{registry}" in target.place.template or "{repository}" in target.place.template:
                    continue
                for pattern in rule.images.patterns:
                    host, _, path = pattern.partition("/")
                    if pattern.startswith("!"):
                        continue
                    for name, (other, other_path) in list(first.items()):
                        if name.startswith(f"{target.name} ") and other != host and _overlap(path, other_path):
                            message = (
                                f"target {target.name} would hold images of {other} and of {host} under the same names"
                            )
                            place = Trouble(f"/rules/{number}/targets", message)
                            (self.troubles if rule.write == "tag" else self.warnings).append(place)
                    first.setdefault(f"{target.name} {pattern}", (host, path))

    def _registries(self, rules: list[Rule | None], targets: list[Target]) -> Iterator[Registry]:
        """The hosts that may be contacted: those that stand literally somewhere, refined by `registries:`."""
        resolving = self._settings.resolving
        proxy = resolving.proxy or ""
        ca = self._pem("/resolving/ca", resolving.ca)
        described = dict(self._settings.registries)
        for host in dict.fromkeys(_contacted(rules, targets)):
            if host not in described:
                yield Registry(host, proxy=proxy, ca=ca)
        for host, one in described.items():
            pointer = f"/registries/{host.replace('~', '~0').replace('/', '~1')}"
            if not is_host(host.replace("*", "x")):
                self._trouble(pointer, f'"{host}" is no host')
                continue
            yield Registry(
                _HUB.get(host, host),
                tuple(
                    self._credential(f"{pointer}/credentials/{n}", source) for n, source in enumerate(one.credentials)
                ),
                one.realms,
                one.proxy or proxy,
                self._pem(f"{pointer}/ca", one.ca) or ca,
                one.max_in_flight,
                one.plain_http,
                one.allow_loopback,
            )

    def _credential(self, pointer: str, source: written.Credential) -> CredentialSource:
        if source.kind in _LATER:
            self.warnings.append(
                Trouble(pointer, f"{source.kind} logins are not there in this version; it contributes nothing")
            )
        if source.kind == "file" and source.file is None:
            self._trouble(pointer, "write the docker config's path: {file: docker.json}")
        if source.kind != "file" and source.file is not None:
            self._trouble(pointer, f"{source.kind} takes no file")
        file = str(self._base / source.file) if source.file is not None else ""
        if file:
            self.files.append(Path(file))
            if not Path(file).is_file():
                self.warnings.append(
                    Trouble(pointer, f"{source.file} cannot be read yet; it contributes nothing until it is there")
                )
        return CredentialSource(source.kind, file, Globs(source.namespaces), Globs(source.paths))

    def _pem(self, pointer: str, file: str | None) -> str:
        text = self._file(pointer, file)
        if text and "-----BEGIN CERTIFICATE-----" not in text:
            self._trouble(pointer, f"{file} holds no certificate in PEM form")
        return text

    def _file(self, pointer: str, file: str | None) -> str:
        if file is None:
            return ""
        path = self._base / file
        self.files.append(path)
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as failed:
            why = failed.strerror if isinstance(failed, OSError) else "it is not text"
            self._trouble(pointer, f"{file} cannot be read: {why}")
            return ""

    def _locked(self) -> dict[str, str]:
        """The lock file: names to digests."""
        text = self._file("/digests", self._settings.digests)
        locked: dict[str, str] = {}
        for document in documents(text, str(self._settings.digests)) if text else ():
            try:
                value = document.value(scalars="text") if not isinstance(document, BadDocument) else document
            except BadDocument as bad:
                value = bad
            if not isinstance(value, dict):
                self._trouble(
                    "/digests", str(value) if isinstance(value, BadDocument) else "it must map names to digests"
                )
                continue
            for name, digest in value.items():
                self._lock(locked, name, digest)
        return locked

    def _lock(self, locked: dict[str, str], name: str, digest: object) -> None:
        try:
            image = Reference.parse(name)
        except BadReference as bad:
            self._trouble("/digests", f"{self._settings.digests}: {bad}")
            return
        if not isinstance(digest, str) or not is_digest(digest):
            self._trouble("/digests", f"{self._settings.digests}: {name} has no whole digest")
            return
        locked[f"{image.repository}:{image.floating}"] = digest

    def _templates(self) -> dict[str, str]:
        for kind, pointer in self._settings.templates.items():
            if not pointer.startswith("/"):
                self._trouble(f"/templates/{kind}", f'"{pointer}" is no JSON pointer; write it as /spec/template')
        return {**TEMPLATES, **self._settings.templates}

    def _resolving(self) -> Resolving:
        one = self._settings.resolving
        return Resolving(one.fresh, one.stale, one.not_found, min(5.0, one.not_found), one.budget, one.entries)


def _contacted(rules: list[Rule | None], targets: list[Target]) -> Iterator[str]:
    every = [*targets, *(target for rule in rules if rule is not None for target in rule.targets)]
    for rule in rules:
        if rule is None:
            continue
        for pattern in rule.images.patterns:
            host = pattern.partition("/")[0]
            if not pattern.startswith("!") and "*" not in host and "?" not in host:
                yield host
        yield from (place.host for place in rule.upstream if not place.host.startswith("{"))
    for target in every:
        if target.verify is not None:
            yield target.verify.at.host if target.verify.at is not None else target.place.host


def _selector(selector: written.Selector | None) -> Selector | None:
    if selector is None:
        return None
    labels = tuple(Requirement(key, "In", (value,)) for key, value in selector.match_labels.items())
    return labels + tuple(Requirement(one.key, one.operator, one.values) for one in selector.match_expressions)


def _is_open(rule: Rule) -> bool:
    conditions = (rule.tags, rule.namespaces, rule.containers)
    excludes = any(pattern.startswith("!") for pattern in rule.images.patterns)
    return (
        all(globs.is_everything for globs in conditions)
        and not rule.pod_selector
        and rule.namespace_selector is None
        and not excludes
    )


def _overlap(one: str, other: str) -> bool:
    """Whether two path patterns can match the same path; patterns on both sides are taken to, to be on the safe side."""
    if "*" in one and "*" in other:
        short, long = sorted((one.partition("*")[0], other.partition("*")[0]), key=len)
        return long.startswith(short)
    return Globs((one,)).matches(other) or Globs((other,)).matches(one)
