"""Rules that cannot both be meant: twins, rules that never decide, names that two registries would share."""

from collections.abc import Iterable, Iterator, Sequence

from webhook.core.globs import Globs
from webhook.core.rules import EVERYTHING, Rule
from webhook.trouble import Findings, pointer_to

Numbered = Sequence[tuple[int, Rule]]


def find_twins(rules: Numbered, findings: Findings) -> None:
    """Two rules of one name: metrics and logs could not tell them apart."""
    seen: set[str] = set()
    for number, rule in rules:
        if rule.name in seen:
            findings.refuse(pointer_to("rules", number, "name"), f'another rule is called "{rule.name}" already')
        seen.add(rule.name)


def find_shadowed(rules: Numbered, findings: Findings) -> None:
    """Rules that never decide, because earlier ones take all their images under the same conditions or under none."""
    taken: dict[object, dict[str, str]] = {}
    for number, rule in rules:
        conditions = _conditions(rule)
        covers = [taken.get(_OPEN, {}), taken.get(conditions, {})]
        by = {_first_cover(pattern, covers) for pattern in _including(rule)}
        if None not in by:
            names = " and ".join(sorted({f'"{name}"' for name in by if name is not None}))
            findings.warn(pointer_to("rules", number), f"it never decides: {names} before it takes the same images")
        if len(_including(rule)) == len(rule.images.patterns):
            own = taken.setdefault(conditions, {})
            for pattern in rule.images.patterns:
                own.setdefault(pattern, rule.name)


def _conditions(rule: Rule) -> object:
    parts = tuple(EVERYTHING if one.is_everything else one for one in (rule.tags, rule.namespaces, rule.containers))
    return (*parts, rule.pod_selector, rule.namespace_selector)


_OPEN = (EVERYTHING, EVERYTHING, EVERYTHING, (), None)


def _including(rule: Rule) -> list[str]:
    return [pattern for pattern in rule.images.patterns if not pattern.startswith("!")]


def _first_cover(pattern: str, covers: Iterable[dict[str, str]]) -> str | None:
    """The rule that takes every image of this pattern, None when none does for certain."""
    wider = list(_wider(pattern))
    return next((taken[one] for taken in covers for one in wider if one in taken), None)


def _wider(pattern: str) -> Iterator[str]:
    """Patterns that match whatever this one matches."""
    yield from (pattern, "**")
    parts = pattern.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count]) + "/**"


def find_collisions(rules: Numbered, findings: Findings) -> None:
    """Images of two registries that would get one name at a target. A digest guards the content, a tag does not."""
    paths: dict[str, dict[str, list[str]]] = {}
    for number, rule in rules:
        for index, target in enumerate(rule.targets):
            template = target.place.template
            if rule.write == "record" or "{registry}" in template or "{repository}" in template:
                continue
            held = paths.setdefault(template, {})
            other = _add(held, _including(rule))
            if other is not None:
                message = f"{target.name} would hold {other} under the same names"
                report = findings.refuse if rule.write == "tag" else findings.warn
                report(pointer_to("rules", number, "targets", index), message)


def _add(held: dict[str, list[str]], patterns: Iterable[str]) -> str | None:
    """Take these patterns in; tells of the first collision."""
    told: str | None = None
    for pattern in patterns:
        host, _, path = pattern.partition("/")
        if told is None and ("*" in host or "?" in host):
            told = f"images of every registry that {host} matches"
        for other, others in held.items() if told is None else ():
            if other != host and any(_overlap(path, one) for one in others):
                told = f"images of {other} and of {host}"
                break
        held.setdefault(host, []).append(path)
    return told


def _overlap(one: str, other: str) -> bool:
    """Whether two path patterns may match the same path; two with wildcards are compared by what stands before them."""
    if "*" in one and "*" in other:
        short, long = sorted((one.partition("*")[0], other.partition("*")[0]), key=len)
        return long.startswith(short)
    if not {"*", "?"} & {*one, *other}:
        return one == other
    return Globs((one,)).matches(other) or Globs((other,)).matches(one)
