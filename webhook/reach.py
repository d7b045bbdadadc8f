"""Which hosts may be contacted, and how: those that stand literally somewhere, refined by `registries:`."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Final

from webhook import patterns
from webhook import settings as written
from webhook.beside import Beside
from webhook.core.clouds import KINDS, serves
from webhook.core.credential import ANONYMOUS_KIND
from webhook.core.hosts import CredentialSource, Registries, Registry
from webhook.core.reference import DOCKER_HUB, is_dialable, is_host
from webhook.core.rules import Rule
from webhook.core.targets import Target, is_loopback
from webhook.trouble import Findings, pointer_to

HUB_NAMES: Final = {"index.docker.io": DOCKER_HUB}
"""registry-1.docker.io is no alias: image names with it keep it, and so are other names."""


def registries_of(
    settings: written.Configuration,
    rules: Iterable[tuple[int, Rule]],
    targets: Iterable[Target],
    beside: Beside,
    findings: Findings,
) -> Registries:
    """How each host is reached that may be contacted."""
    numbered, named = list(rules), list(targets)
    resolving = settings.resolving
    proxy = resolving.proxy or ""
    ca = beside.certificates("/resolving/ca", resolving.ca)
    found: dict[str, Registry] = {}
    for host, one in settings.registries.items():
        name = HUB_NAMES.get(host, host)
        pointer = pointer_to("registries", host)
        problem = _problem_of(host) or (f"{name} stands here twice" if name in found else None)
        if problem is not None:
            findings.refuse(pointer, problem, of_key=True)
            continue
        credentials = f"{pointer}/credentials"
        if not one.credentials and not any(told.startswith(credentials) for told in findings.broken):
            findings.refuse(credentials, "at least one is wanted; anonymous asks without a login")
        _tell_order(credentials, one.credentials, findings)
        found[name] = Registry(
            name,
            tuple(
                _credential(f"{credentials}/{number}", name, source, beside, findings)
                for number, source in enumerate(one.credentials)
            ),
            one.realms,
            one.proxy or proxy,
            beside.certificates(f"{pointer}/ca", one.ca) or ca,
            one.max_in_flight,
            one.plain_http,
            one.allow_loopback,
            proxy_cache=one.proxy_cache,
        )
    for host in _literal([rule for _, rule in numbered], named):
        found.setdefault(host, Registry(host, proxy=proxy, ca=ca))
    registries = Registries(found.values())
    _tell_unreachable(numbered, named, registries, findings)
    return registries


def _problem_of(host: str) -> str | None:
    if "**" in host or "?" in host:
        return "only * within one label may stand in a host"
    if is_host(host.replace("*", "x")):
        return None if is_dialable(host) else f'"{host}" has a port that does not exist'
    name = host.partition("://")[2].partition("/")[0] or host.partition("/")[0]
    hint = f' (did you mean "{name}"?)' if is_host(name) else ""
    return f'"{host}" is no host{hint}'


def _tell_order(pointer: str, sources: Sequence[written.Credential], findings: Findings) -> None:
    for number, source in enumerate(sources[:-1]):
        if source.kind == ANONYMOUS_KIND:
            findings.warn(
                f"{pointer}/{number}", "anonymous is asked before what stands behind it; it belongs at the end"
            )


def _credential(
    pointer: str, host: str, source: written.Credential, beside: Beside, findings: Findings
) -> CredentialSource:
    cloud = KINDS.get(source.kind)
    if cloud is not None and not serves(source.kind, host):
        findings.warn(pointer, f"{source.kind} logs in at {cloud.hosts} only; this entry contributes nothing")
    elif cloud is not None and not _is_installed(cloud.module):
        package = f"moorage[{source.kind}]"
        findings.refuse(
            pointer, f"{source.kind} logins need a package that is not here; pip install '{package}' brings it"
        )
    if (source.kind == "file") != (source.file is not None):
        message = "write the docker config's path, as {file: docker.json}"
        findings.refuse(pointer, message if source.kind == "file" else f"{source.kind} takes no file")
    file = ""
    if source.file is not None:
        path = beside.path(source.file)
        file = str(path)
        if not path.is_file():
            findings.warn(pointer, f"{source.file} cannot be read; this entry contributes nothing until it is there")
    namespaces = patterns.namespaces(findings, f"{pointer}/namespaces", source.namespaces)
    paths = patterns.paths(findings, f"{pointer}/paths", source.paths)
    return CredentialSource(source.kind, file, namespaces, paths)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _literal(rules: list[Rule], named: list[Target]) -> Iterator[str]:
    """Hosts that stand in rules and targets. A cache on the node's loopback is only written, never asked."""
    for rule in rules:
        for pattern in rule.images.patterns:
            host = pattern.partition("/")[0]
            if not pattern.startswith("!") and "*" not in host and "?" not in host:
                yield host
        yield from (place.host for place in rule.upstream if not place.host.startswith("{"))
    for target in (*named, *(target for rule in rules for target in rule.targets)):
        if not is_loopback(target.place.host):
            yield target.place.host
        if target.verify is not None:
            yield target.verify.at.host if target.verify.at is not None else target.place.host


def _tell_unreachable(
    rules: list[tuple[int, Rule]], named: list[Target], registries: Registries, findings: Findings
) -> None:
    """Warn of what can never be asked."""
    for target in named:
        if target.verify is None:
            continue
        host = target.verify.at.host if target.verify.at is not None else target.place.host
        registry = registries.find(host)
        if is_loopback(host) and (registry is None or not registry.allow_loopback):
            message = f"{host} is the node's own address, which the webhook cannot ask; write verify: {{at: http://…}}"
            findings.warn(pointer_to("targets", target.name, "verify"), message)
    for number, rule in rules:
        asks_itself = any(place.host == "{registry}" for place in rule.upstream)
        if rule.hosts is None and rule.write != "tag" and asks_itself and not registries.patterns:
            message = "hosts that only a pattern matches are asked when registries: covers them, and nothing there does"
            findings.warn(pointer_to("rules", number, "images"), message)
