"""From the configuration file to a RuleSet and its registries, with every mistake told at once and in its place."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from webhook.compile import compiled
from webhook.core.freshness import Resolving
from webhook.core.hosts import Registries
from webhook.core.printable import printable
from webhook.core.rules import RuleSet
from webhook.document import BadDocument, Document, decode, documents
from webhook.mending import Mended, Numbered, mended
from webhook.reading import content
from webhook.settings import API_VERSION, KIND, Configuration
from webhook.trouble import Findings, Trouble, parts_of, pointer_to, way_to

ENVIRONMENT: Final = "MOORAGE_CONFIG"
FLAG: Final = "--rule"
DEFAULTS: Final = "defaults"
"""The folder beside a configuration where an install keeps the one that is in force until the operator's own is there."""
PLACES: Final = (Path("moorage.yaml"), Path("/etc/moorage/moorage.yaml"))
SMALLEST: Final = f"""apiVersion: {API_VERSION}
kind: {KIND}
rules:
  - name: private
    images: [registry.example.com/**]
    targets: [localhost:30081]
"""


class Problem(msgspec.Struct, frozen=True):
    """One mistake. `where` is the way to it as people write it, `rules[2].target`, or the text of a flag; `file` is
    empty for what stands in none."""

    file: str
    line: int
    column: int
    where: str
    message: str

    def __str__(self) -> str:
        if not self.file:
            return self.message
        if self.file == FLAG:
            return f"{FLAG} '{self.where}': {self.message}"
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.message}"


class BadConfiguration(ValueError):
    """A configuration that cannot be used; carries every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class NoConfiguration(BadConfiguration):
    """There is no file, and no flag that stands in for it."""

    def __init__(self) -> None:
        message = (
            f"there is no configuration: give one with --config FILE, or a rule with --rule, or write\n\n{SMALLEST}"
        )
        super().__init__([Problem("", 1, 1, "", f"{message}\nas moorage.yaml")])


class Loaded(msgspec.Struct, frozen=True):
    """A configuration ready for use, and what a reload has to watch. `hash` tells it from others: of the file and of
    what was read beside it, but for logins; variables are not in it. `wanted` is the operator's file where `path` stands in
    for it."""

    rules: RuleSet
    registries: Registries
    resolving: Resolving
    settings: Configuration
    variables: Mapping[str, str]
    warnings: tuple[str, ...]
    path: Path | None
    files: tuple[Path, ...]
    hash: str = ""
    wanted: Path | None = None

    @property
    def needs_cluster(self) -> str:
        """Which logins nobody can give without a cluster, in a sentence; empty where the file asks for none of them."""
        hosts = [
            host
            for host, one in self.settings.registries.items()
            if "credentials" in one.model_fields_set and any(source.kind == "pod" for source in one.credentials)
        ]
        if not hosts:
            return ""
        return f"credentials of {', '.join(hosts)}: only a cluster has pull secrets; pod contributes nothing here"


def find(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to load: named, in the environment, here, or in /etc; None when there is none."""
    if named is not None:
        return named
    if environ.get(ENVIRONMENT):
        return Path(environ[ENVIRONMENT])
    return next((place for place in PLACES if place.is_file()), None)


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    rules: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    with_lock: bool = True,
    before: Loaded | None = None,
) -> Loaded:
    """Load the file, with `--rule` rules before its own and `--set` variables over it. Without the lock, `digests:` is
    not read: what it holds is to be found out anew. `before` is what was loaded last: a file that was found is not
    replaced by a lesser one when it goes away.

    Raises:
        BadConfiguration: with every problem that could be found.
    """
    file = find(path or (before.wanted or before.path if before is not None else None), environ)
    if file is None and not rules:
        raise NoConfiguration
    wanted = None
    if file is not None and not file.exists() and (before is None or before.wanted is not None):
        default = file.parent / DEFAULTS / file.name
        if default.is_file():
            file, wanted = default, file
    by = f" (${ENVIRONMENT} names it)" if path is None and environ.get(ENVIRONMENT) else ""
    document = _document(file, by) if file is not None else _only_flags()
    twins: list[BadDocument] = []
    try:
        raw = document.value(scalars="text", twins=twins)
    except BadDocument as bad:
        raise BadConfiguration([*map(_problem_of, twins), _problem_of(bad)]) from None
    if not isinstance(raw, dict):
        raise BadConfiguration([Problem(document.file, document.line, 1, "", "the file must hold a mapping")])
    loaded = _Loading(document, raw, rules, with_lock=with_lock).load(file, environ, variables or {}, twins)
    # Watched, so that it counts as soon as it comes.
    files = (*loaded.files, *((wanted,) if wanted is not None else ()))
    return msgspec.structs.replace(loaded, wanted=wanted, files=files)


def _document(file: Path, by: str) -> Document:
    try:
        found = list(documents(decode(content(file), str(file)), str(file)))
    except OSError as failed:
        raise BadConfiguration([Problem(str(file), 1, 1, "", f"cannot be read: {failed.strerror}{by}")]) from None
    except BadDocument as bad:
        raise BadConfiguration([_problem_of(bad)]) from None
    broken = [_problem_of(one) for one in found if isinstance(one, BadDocument)]
    good = [one for one in found if isinstance(one, Document)]
    if broken:
        raise BadConfiguration(broken)
    if not good:
        raise BadConfiguration(
            [Problem(str(file), 1, 1, "", f"the file is empty; the smallest that works is\n{SMALLEST}")]
        )
    if len(good) > 1:
        raise BadConfiguration([Problem(str(file), good[1].line, 1, "", "the file holds more than one document")])
    return good[0]


def _only_flags() -> Document:
    (document,) = documents(f"apiVersion: {API_VERSION}\nkind: {KIND}\nrules: []\n", FLAG)
    if isinstance(document, BadDocument):
        raise document
    return document


def _hash(texts: Iterable[str]) -> str:
    total = sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        total.update(b"%d:%b" % (len(encoded), encoded))
    return total.hexdigest()[:16]


def _problem_of(bad: BadDocument) -> Problem:
    return Problem(bad.file, bad.line, bad.column, "", printable(bad.message))


class _Loading:
    """One load: collects problems until nothing more can be found."""

    def __init__(self, document: Document, raw: dict[str, Any], rules: Sequence[str], *, with_lock: bool) -> None:
        self._document = document
        self._raw = raw
        self._rules = rules
        self._with_lock = with_lock
        self._problems: list[Problem] = []

    def load(
        self, file: Path | None, environ: Mapping[str, str], variables: Mapping[str, str], twins: Sequence[BadDocument]
    ) -> Loaded:
        self._problems += map(_problem_of, twins)
        reading = Findings()
        result = mended(self._with_flags(), reading)
        self._problems += [self._problem(parts_of(trouble.pointer), trouble) for trouble in reading.troubles]
        if result.settings is None:
            raise BadConfiguration(self._sorted())
        findings = Findings(result.broken)
        base = file.parent if file is not None else Path()
        done = compiled(result.settings, base, environ, variables, findings, with_lock=self._with_lock)
        self._problems += [self._found(result, trouble) for trouble in findings.troubles]
        self._problems += map(_problem_of, done.wrong)
        if self._problems:
            raise BadConfiguration(self._sorted())
        return Loaded(
            done.rules,
            done.registries,
            done.resolving,
            result.settings,
            done.variables,
            tuple(str(self._found(result, warning)) for warning in findings.warnings),
            file,
            (*([file] if file is not None else []), *done.files),
            _hash((self._document.text, *done.texts)),
        )

    def _with_flags(self) -> dict[str, Any]:
        """The settings with the `--rule` rules before those of the file; they count from -1 downwards."""
        flags = [(~number, rule) for number, text in enumerate(self._rules) if (rule := self._flag(number, text))]
        own = self._raw.get("rules")
        if not flags or ("rules" in self._raw and not isinstance(own, list)):
            return self._raw
        rules = [*flags, *enumerate(own or ())]
        return {**self._raw, "rules": Numbered([rule for _, rule in rules], [number for number, _ in rules])}

    def _flag(self, number: int, text: str) -> dict[str, Any] | None:
        images, equals, targets = text.partition("=")
        if not equals or not images:
            message = "this is no rule; write it as 'registry.example.com/**=localhost:30081'"
            self._problems.append(Problem(FLAG, 1, 1, printable(text), message))
            return None
        return {
            "name": f"rule-{number + 1}",
            "images": [part.strip() for part in images.split(",")],
            "targets": [part.strip() for part in targets.split(",") if part.strip()],
        }

    def _found(self, result: Mended, trouble: Trouble) -> Problem:
        return self._problem(result.in_file(parts_of(trouble.pointer)), trouble)

    def _problem(self, parts: Sequence[str | int], trouble: Trouble) -> Problem:
        if parts[:1] == ["rules"] and len(parts) > 1 and int(parts[1]) < 0:
            return Problem(FLAG, 1, 1, printable(self._rules[~int(parts[1])]), printable(trouble.message))
        spot = self._document.spot(pointer_to(*parts), of_key=trouble.of_key)
        # What stands in a file may be anything; a problem is one line.
        where, message = printable(way_to(parts)), printable(trouble.message)
        return Problem(self._document.file, spot.line, spot.column, where, message)

    def _sorted(self) -> list[Problem]:
        return sorted(set(self._problems), key=lambda one: (one.file, one.line, one.column, one.where, one.message))
