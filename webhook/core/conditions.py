"""What the API server asks us about: CEL conditions made from the hosts of rules and targets, and read back again.

A condition that fails to evaluate is skipped over in silence under failurePolicy Ignore, and so is the webhook. So every
expression holds for any JSON, and its cost has a bound: what has more places, or longer texts, than are worth looking
at is let through unseen. Hosts are compared by name, in lower case and without port: rather one review too many than
one too few. What is read back is the expression itself, never a note beside it, which would stay as it was when
somebody edits the expression.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Final, Literal

import msgspec

from webhook.core.annotation import IMAGES
from webhook.core.reference import DOCKER_HUB
from webhook.core.rollout import NUMBERS
from webhook.core.rules import RuleSet
from webhook.core.subject import IMAGE_FIELDS, LEFT_ALONE
from webhook.core.targets import LOOPBACK_NAMES, is_loopback

Kind = Literal["pods", "revisions"]
Condition = Mapping[str, str]
"""An entry of matchConditions: name and expression."""

PREFIX: Final = "moorage.dev/"
VERSION: Final = 1
"""An expression that is made otherwise gets the next number, so that of replicas of two versions the older one lets be
what the newer has made."""
HOSTS: Final = f"{PREFIX}images-v{VERSION}"
CHANGES: Final = f"{PREFIX}changes-v{VERSION}"
"""Names of our conditions."""

MAX_TEXT: Final = 64_000
"""Characters of an expression. cel-go refuses 100,000, and `kubectl apply` keeps both webhooks' in an annotation, of which
an object holds 256 KiB."""
MAX_COST: Final = 700_000
"""The API server ends an expression at 1,000,000 (apiserver, PerCallLimit) and all of one webhook at 2,500,000."""
MAX_GLOBS: Final = 100
"""More would be too dear."""
MAX_ITEMS: Final = 32
"""Entries of a list in a Pod's spec that are looked at; a longer list lets the Pod through."""
MAX_IMAGE: Final = 256
MAX_HOST: Final = 128
"""Characters of an image's text, and of its first part, that are looked at."""

_HUB_ALIAS: Final = "index.docker.io"
_NUMBER: Final = "^[0-9][0-9a-fx.]*$"
"""Hosts that inet_aton(3) may read as an address: more than it does, and no name that ends in a word."""
_PLAIN: Final = re.compile(r"[a-z0-9.\[\]-]*", re.ASCII)
_WILD: Final = re.compile(r"[*?]+")

# What one image costs the API server at most, by cel-go's rules (interpreter/runtimecost.go) and with room: of 1.36 it
# was seen that 260 globs pass with 96 images of the longest kind, and 300 do not.
_COST_OF_IMAGE: Final = 700
_COST_OF_GLOB: Final = 50


class Glob(msgspec.Struct, frozen=True, order=True):
    """Hosts that begin and end so."""

    start: str = ""
    end: str = ""

    def matches(self, host: str) -> bool:
        """Whether a host does."""
        return host.startswith(self.start) and host.endswith(self.end)

    def holds(self, other: "Glob") -> bool:
        """Whether every host of the other is one of this."""
        return other.start.startswith(self.start) and other.end.endswith(self.end)


class Coverage(msgspec.Struct, frozen=True):
    """Which images' Pods come to us: those of these hosts, lower-case and without port. `numbers` are hosts that may be
    an address in any spelling; with `everything` the rest says nothing."""

    names: frozenset[str] = frozenset()
    globs: frozenset[Glob] = frozenset()
    numbers: bool = False
    everything: bool = False

    def holds(self, other: "Coverage") -> bool:
        """Whether all that the other lets through comes through here too."""
        return self.everything or (not other.everything and not self.lacks(other))

    def lacks(self, other: "Coverage") -> tuple[str, ...]:
        """What the other lets through and this does not, as people write hosts, in order."""
        if self.everything:
            return ()
        if other.everything:
            return ("*",)
        names = {name for name in other.names - self.names if not any(glob.matches(name) for glob in self.globs)}
        globs = {glob for glob in other.globs if not any(one.holds(glob) for one in self.globs)}
        shown = names | {f"{glob.start}*{glob.end}" for glob in globs}
        # All spellings of one place are one to whoever reads it.
        if (other.numbers and not self.numbers) or names & LOOPBACK_NAMES or globs & LOOPBACK.globs:
            shown -= LOOPBACK_NAMES | {f"{glob.start}*{glob.end}" for glob in LOOPBACK.globs}
            shown.add("localhost")
        if _HUB_ALIAS in names:
            shown = shown - {_HUB_ALIAS} | {DOCKER_HUB}
        return tuple(sorted(shown))

    def joined(self, other: "Coverage") -> "Coverage":
        """What either lets through, and no less than that."""
        if self.everything or other.everything:
            return EVERYTHING
        numbers = self.numbers or other.numbers
        return _bearable(Coverage(self.names | other.names, self.globs | other.globs, numbers))

    @property
    def cost(self) -> int:
        """The most that an expression of it takes, for the worst Pod."""
        per_image = _COST_OF_IMAGE + len(self.names) + _COST_OF_GLOB * len(self.globs)
        return len(IMAGE_FIELDS) * MAX_ITEMS * per_image


EVERYTHING: Final = Coverage(everything=True)
LOOPBACK: Final = Coverage(LOOPBACK_NAMES, frozenset({Glob("", ".localhost"), Glob("[", "")}), numbers=True)
"""All spellings of the node's own address: a name of a target written by hand may be any of them."""


def needed(rules: RuleSet) -> Coverage:
    """The hosts whose Pods these rules have to see, in as much detail as the API server bears.

    What excludes images is passed over, whatever it excludes. Targets count where they are guarded; our own output is
    known by its annotation.
    """
    parts = [*map(_of_pattern, _patterns(rules)), *map(_of_target, _guarded(rules))]
    if any(part.everything for part in parts):
        return EVERYTHING
    names = frozenset(chain.from_iterable(part.names for part in parts))
    globs = frozenset(chain.from_iterable(part.globs for part in parts))
    if DOCKER_HUB in names or any(glob.matches(DOCKER_HUB) for glob in globs):
        names |= {DOCKER_HUB, _HUB_ALIAS}
    return _bearable(Coverage(names, globs, any(part.numbers for part in parts)))


def _patterns(rules: RuleSet) -> Iterator[str]:
    for rule in rules.rules:
        included = [pattern for pattern in rule.images.patterns if not pattern.startswith("!")]
        yield from included or ("**",)


def _guarded(rules: RuleSet) -> Iterator[str]:
    return (target.place.host for target in rules.targets if target.guard != "off")


def _of_pattern(pattern: str) -> Coverage:
    host = _name(pattern.partition("/")[0])
    if _WILD.search(host) is None:
        return _of_name(host)
    first, *_, last = _WILD.split(host)
    # `**` may end far behind the host, and then what follows it is no part of the host.
    return _of_glob(Glob(first, "" if "**" in host else last))


def _of_target(host: str) -> Coverage:
    if "{" in host:
        return EVERYTHING
    return LOOPBACK if is_loopback(host) else _of_name(_name(host))


def _of_name(name: str) -> Coverage:
    return Coverage(frozenset({name})) if name and _PLAIN.fullmatch(name) else EVERYTHING


def _of_glob(glob: Glob) -> Coverage:
    is_narrow = bool(glob.start or glob.end) and _PLAIN.fullmatch(glob.start + glob.end) is not None
    return Coverage(globs=frozenset({glob})) if is_narrow else EVERYTHING


def _name(host: str) -> str:
    return host.partition(":")[0].lower()


def _bearable(coverage: Coverage) -> Coverage:
    """The same, or coarser where its expression would be too long or too dear: all hosts of a domain, else all hosts."""
    for one in (coverage, _by_domain(coverage)):
        if len(one.globs) <= MAX_GLOBS:
            tidy = _tidied(one)
            if tidy.cost <= MAX_COST and all(len(_hosts(tidy, kind)) <= MAX_TEXT for kind in _HEAD):
                return tidy
    return EVERYTHING


def _tidied(coverage: Coverage) -> Coverage:
    """Without what something wider holds."""
    globs = {one for one in coverage.globs if not any(wide != one and wide.holds(one) for wide in coverage.globs)}
    names = {name for name in coverage.names if not any(glob.matches(name) for glob in globs)}
    return Coverage(frozenset(names), frozenset(globs), coverage.numbers)


def _by_domain(coverage: Coverage) -> Coverage:
    """The last two labels in place of hosts that share them."""
    names, globs = set(), set()
    for name in coverage.names:
        domain = ".".join(name.split(".")[-2:])
        if name in {*LOOPBACK_NAMES, DOCKER_HUB, _HUB_ALIAS} or domain == name or name.startswith("["):
            names.add(name)
        else:
            names.add(domain)
            globs.add(Glob("", f".{domain}"))
    for glob in coverage.globs:
        domain = ".".join(glob.end.split(".")[-2:])
        globs.add(Glob("", f".{domain}") if domain and glob.end.endswith(f".{domain}") else glob)
    return Coverage(frozenset(names), frozenset(globs), coverage.numbers)


_HEAD: Final[Mapping[Kind, str]] = {
    "pods": f"""\
has(object.metadata) && has(object.metadata.annotations) && '{IMAGES}' in object.metadata.annotations ||
[object]""",
    "revisions": """\
[has(object.data) ? object.data : object].filter(whole,
  type(whole) == map && has(whole.spec) && type(whole.spec) == map && has(whole.spec.template))
.map(whole, whole.spec.template)""",
}
"""Where the Pod stands, in a list. Pods that bear our annotation come to us whatever they name: an author can forge it."""

_BODY: Final = """\
.exists(pod, type(pod) == map && has(pod.spec) && type(pod.spec) == map &&
[{fields}].exists(field,
  field in pod.spec && type(pod.spec[field]) == list && (size(pod.spec[field]) > {items} ||
  dyn(pod.spec[field]).exists(one, type(one) != map || (!(field in [{nested}]) || has(one.image)) &&
  [field in [{nested}] && type(one.image) == map && has(one.image.reference) ? one.image.reference :
    has(one.image) ? one.image : ''].exists(text,
  type(text) != string || text in [{blank}] || size(text) > {image} ||
  [text.contains('/') ? text.split('/')[0] : ''].exists(first, size(first) > {host} ||
  [first.matches('[.:A-Z]|^localhost$') ? first.lowerAscii().split(':')[0] : '{hub}'].exists(host,
{hosts})))))))
"""

_ALL: Final = "true"

_CHANGES: Final[Mapping[Kind, str]] = {
    "pods": """\
request.operation != 'UPDATE' || !has(object.spec) || !has(oldObject.spec) || object.spec != oldObject.spec
""",
    "revisions": f"""\
request.operation != 'UPDATE' ||
has(object.revision) && has(oldObject.revision) && object.revision != oldObject.revision ||
request.kind.kind == 'Job' && has(object.spec) && has(oldObject.spec) && object.spec != oldObject.spec ||
[{", ".join(f"'{key}'" for key in NUMBERS)}].exists(key,
  (has(object.metadata) && has(object.metadata.annotations) && key in object.metadata.annotations ?
    object.metadata.annotations[key] : '') !=
  (has(oldObject.metadata) && has(oldObject.metadata.annotations) && key in oldObject.metadata.annotations ?
    oldObject.metadata.annotations[key] : ''))
""",
}
"""Updates that can matter: a Pod's images stand in its spec, and a revision counts when it is used again."""


def conditions(coverage: Coverage, kind: Kind, *, explicit: bool = False) -> list[dict[str, str]]:
    """The matchConditions of one of our webhooks. Where everything shall come there are none, or an `explicit` one, which
    tells that from conditions that were not made yet."""
    if coverage.everything:
        return [{"name": HOSTS, "expression": _ALL}] if explicit else []
    return [
        {"name": CHANGES, "expression": _CHANGES[kind]},
        {"name": HOSTS, "expression": _hosts(coverage, kind)},
    ]


# A server looks at the same registration every minute, in the loop that answers reviews.
@lru_cache(maxsize=8)
def _hosts(coverage: Coverage, kind: Kind) -> str:
    nested = [name for name, way in IMAGE_FIELDS if len(way) > 1]
    body = _BODY.format(
        fields=_quoted(name for name, _ in IMAGE_FIELDS),
        nested=_quoted(nested),
        blank=_quoted(sorted(LEFT_ALONE)),
        items=MAX_ITEMS,
        image=MAX_IMAGE,
        host=MAX_HOST,
        hub=DOCKER_HUB,
        hosts=_is_host(coverage),
    )
    return _HEAD[kind] + body


def _is_host(coverage: Coverage) -> str:
    parts = []
    if coverage.names:
        names = ",\n".join(f"    '{name}'" for name in sorted(coverage.names))
        parts.append(f"  host in [\n{names}]")
    if coverage.globs:
        globs = ",\n".join(f"    ['{glob.start}', '{glob.end}']" for glob in sorted(coverage.globs))
        parts.append(f"  [\n{globs}].exists(ends, host.startsWith(ends[0]) && host.endsWith(ends[1]))")
    if coverage.numbers:
        parts.append(f"  host.matches('{_NUMBER}')")
    return " ||\n".join(parts) or "  false"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


class Read(msgspec.Struct, frozen=True):
    """What conditions come to. `is_made` says whether one of ours for hosts is there; `edited` bear our name and not our
    text, `newer` are of a newer Moorage, `others` somebody else's; the coverage is what the rest lets through."""

    coverage: Coverage
    is_made: bool = False
    edited: tuple[str, ...] = ()
    newer: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read(found: Iterable[Condition], kind: Kind) -> Read:
    """What the conditions of a webhook let through, from their expressions. Blanks and line breaks do not matter."""
    coverage, is_made = EVERYTHING, False
    edited: list[str] = []
    newer: list[str] = []
    others: list[str] = []
    for condition in found:
        name, expression = condition["name"], condition["expression"]
        if name == HOSTS:
            hosts = _read_hosts(expression, kind)
            coverage, is_made = hosts if hosts is not None else Coverage(), True
            edited += [name] if hosts is None else []
        elif name == CHANGES:
            edited += [name] if _bare(expression) != _bare(_CHANGES[kind]) else []
        elif is_kept(name):
            (newer if name.startswith(PREFIX) else others).append(name)
        else:
            edited.append(name)
    return Read(coverage, is_made, tuple(edited), tuple(newer), tuple(others))


def is_kept(name: str) -> bool:
    """Whether a condition of this name is not ours to change: somebody else's, or a newer Moorage's."""
    found = _OURS.fullmatch(name)
    return found is None or int(found[1]) > VERSION


_OURS: Final = re.compile(rf"{PREFIX}(?:images|changes)-v([0-9]{{1,6}})")
_NAMES: Final = re.compile(r"hostin\[((?:'[^']*',?)*)\]")
_GLOBS: Final = re.compile(r"\[((?:\['[^']*','[^']*'\],?)+)\]\.exists\(ends")
_TEXT: Final = re.compile(r"'([^']*)'")


@lru_cache(maxsize=8)
def _read_hosts(expression: str, kind: Kind) -> Coverage | None:
    """The hosts in an expression; None where it is not what we make of them."""
    bare = _bare(expression)
    if bare == _ALL:
        return EVERYTHING
    names, globs = _NAMES.search(bare), _GLOBS.search(bare)
    ends = _TEXT.findall(globs[1]) if globs is not None else []
    found = Coverage(
        frozenset(_TEXT.findall(names[1])) if names is not None else frozenset(),
        frozenset(Glob(start, end) for start, end in zip(ends[::2], ends[1::2], strict=True)),
        f"host.matches('{_NUMBER}')" in bare,
    )
    return found if _skeleton(bare) == _skeleton(_bare(_hosts(found, kind))) else None


def _skeleton(bare: str) -> str:
    """An expression without its hosts, whose order does not matter."""
    return _NAMES.sub("hostin[]", _GLOBS.sub("[].exists(ends", bare))


def _bare(expression: str) -> str:
    return "".join(expression.split())
