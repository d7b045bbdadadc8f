"""From the configuration file to a RuleSet and its registries, with every mistake told at once and in its place."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from pydantic import BaseModel, ValidationError

from webhook.compile import Compiler, Trouble
from webhook.core.freshness import Resolving
from webhook.core.hosts import Registries
from webhook.core.rules import RuleSet
from webhook.document import BadDocument, Document, decode, documents
from webhook.settings import API_VERSION, KIND, Configuration

ENVIRONMENT: Final = "MOORAGE_CONFIG"
VARIABLE: Final = "MOORAGE_VAR_"
ROUNDS: Final = 8
PLACES: Final = (Path("moorage.yaml"), Path("/etc/moorage/moorage.yaml"))
SMALLEST: Final = f"""apiVersion: {API_VERSION}
kind: {KIND}
rules:
  - name: private
    images: [registry.example.com/**]
    targets: [localhost:30081]
"""


class Problem(msgspec.Struct, frozen=True):
    """One mistake. `where` is the way to it as people write it, `rules[2].target`."""

    file: str
    line: int
    column: int
    where: str
    message: str

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.message}"


class BadConfiguration(ValueError):
    """A configuration that cannot be used; carries every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Loaded(msgspec.Struct, frozen=True):
    """A configuration ready for use, and what a reload has to watch."""

    rules: RuleSet
    registries: Registries
    resolving: Resolving
    settings: Configuration
    variables: Mapping[str, str]
    warnings: tuple[str, ...]
    path: Path | None
    files: tuple[Path, ...]


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
) -> Loaded:
    """Load the file, with `--rule` rules before its own and `--set` variables over it.

    Raises:
        BadConfiguration: with every problem that could be found.
    """
    file = find(path, environ)
    if file is None and not rules:
        raise BadConfiguration(
            [Problem("moorage.yaml", 1, 1, "", f"there is no configuration; the smallest that works is\n{SMALLEST}")]
        )
    document = _document(file) if file is not None else _from_rules(())
    try:
        raw = document.value(scalars="text")
    except BadDocument as bad:
        raise BadConfiguration([_problem_of(bad)]) from None
    if not isinstance(raw, dict):
        raise BadConfiguration([Problem(document.file, document.line, 1, "", "the file must hold a mapping")])
    return _Loading(document, raw, file, environ, rules, variables or {}).load()


def _document(file: Path) -> Document:
    try:
        found = list(documents(decode(file.read_bytes(), str(file)), str(file)))
    except OSError as failed:
        raise BadConfiguration([Problem(str(file), 1, 1, "", f"cannot be read: {failed.strerror}")]) from None
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


def _from_rules(_: tuple[()]) -> Document:
    text = f"apiVersion: {API_VERSION}\nkind: {KIND}\nrules: []\n"
    (document,) = documents(text, "--rule")
    if isinstance(document, BadDocument):
        raise document
    return document


def _problem_of(bad: BadDocument) -> Problem:
    return Problem(bad.file, bad.line, bad.column, "", bad.message)


class _Loading:
    """One load: collects problems until nothing more can be found."""

    def __init__(
        self,
        document: Document,
        raw: dict[str, Any],
        file: Path | None,
        environ: Mapping[str, str],
        rules: Sequence[str],
        variables: Mapping[str, str],
    ) -> None:
        self._document = document
        self._raw = raw
        self._file = file
        self._environ = environ
        self._rules = rules
        self._variables = variables
        self._problems: list[Problem] = []
        self._flags: list[dict[str, Any]] = []

    def load(self) -> Loaded:
        self._flags = [rule for number, text in enumerate(self._rules) if (rule := self._flag(number, text))]
        settings = self._validate()
        base = self._file.parent if self._file is not None else Path()
        compiler = Compiler(settings, base, self._environment(), self._variables)
        compiled = compiler.compile()
        self._problems += [self._problem(trouble) for trouble in compiler.troubles]
        if self._problems or compiled is None:
            raise BadConfiguration(self._sorted())
        files = (self._file,) if self._file is not None else ()
        return Loaded(
            compiled.rules,
            compiled.registries,
            compiled.resolving,
            settings,
            compiled.variables,
            tuple(str(self._problem(warning)) for warning in compiler.warnings),
            self._file,
            (*files, *compiler.files),
        )

    def _flag(self, number: int, text: str) -> dict[str, Any] | None:
        images, equals, targets = text.partition("=")
        if not equals or not images:
            message = f"{text!r} is no rule; write it as 'registry.example.com/**=localhost:30081'"
            self._problems.append(Problem("--rule", 1, 1, "", message))
            return None
        names = [target for target in targets.split(",") if target]
        return {"name": f"rule-{number + 1}", "images": images.split(","), "targets": names}

    def _environment(self) -> dict[str, str]:
        return {
            name.removeprefix(VARIABLE).lower(): value
            for name, value in self._environ.items()
            if name.startswith(VARIABLE)
        }

    def _validate(self) -> Configuration:
        raw = dict(self._raw)
        if isinstance(raw.get("vars"), dict):
            every = raw["vars"]
            raw["vars"] = {name: value for name, value in every.items() if not isinstance(value, dict)}
            raw["tables"] = {name: value for name, value in every.items() if isinstance(value, dict)}
        elif "tables" in raw:
            self._problems.append(self._problem(Trouble("/tables", "unknown key", of_key=True)))
        if isinstance(raw.get("rules"), list):
            raw["rules"] = [*self._flags, *raw["rules"]]
        raw = deepcopy(raw)
        for _ in range(ROUNDS):
            try:
                return Configuration.model_validate(raw)
            except ValidationError as wrong:
                # What is wrong gives way to something harmless, and we look again: the rest may have other mistakes.
                for error in wrong.errors(include_url=False):
                    if error["type"] != "too_short" or not _at(raw, error["loc"]):
                        self._problems.append(self._invalid(error))
                        if not _mend(raw, error["loc"]):
                            raise BadConfiguration(self._sorted()) from None
        raise BadConfiguration(self._sorted())

    def _invalid(self, error: Any) -> Problem:
        location = tuple(error["loc"])
        if location[:1] == ("tables",):
            location = ("vars", *location[1:])
        kind = error["type"]
        message = _message(error)
        if kind == "extra_forbidden":
            message = f"unknown key{_did_you_mean(str(location[-1]), _keys_at(location[:-1]))}"
        elif kind == "literal_error":
            message += _did_you_mean(str(error["input"]), re.findall(r"'([^']+)'", error["ctx"]["expected"]))
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)
        return self._problem(Trouble(pointer, message, of_key=kind == "extra_forbidden"))

    def _problem(self, trouble: Trouble) -> Problem:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in trouble.pointer.split("/")[1:]]
        if parts[:1] == ["rules"] and len(parts) > 1 and self._flags:
            # --rule rules stand before those of the file.
            number = int(parts[1])
            if number < len(self._flags):
                return Problem("--rule", 1, 1, self._rules[number], trouble.message)
            parts[1] = str(number - len(self._flags))
        pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)
        spot = self._document.spot(pointer, of_key=trouble.of_key)
        return Problem(self._document.file, spot.line, spot.column, _where(parts), trouble.message)

    def _sorted(self) -> list[Problem]:
        return sorted(set(self._problems), key=lambda one: (one.file, one.line, one.column, one.message))


def _at(value: Any, location: Sequence[Any]) -> Any:
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _mend(raw: dict[str, Any], location: Sequence[Any]) -> bool:
    """Put something harmless where a mistake was told; False when there is no such place."""
    *way, last = location
    parent = _at(raw, way)
    named = next((part for part in reversed(location) if isinstance(part, str)), "")
    harmless = _harmless(named, location)
    if isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        parent[last] = harmless[0] if isinstance(harmless, list) else harmless
        return True
    if not isinstance(parent, dict):
        return False
    if harmless is not None:
        parent[last] = harmless
    else:
        parent.pop(last, None)
    return True


def _harmless(key: str, location: Sequence[Any]) -> Any:
    number = "-".join(str(part) for part in location)
    rule = {"name": f"x-{number}"[:60], "images": ["x.invalid/**"]}
    if location[0] == "registries" and key == "kind":
        return "anonymous"
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": rule["name"],
        "images": rule["images"],
        "image": "x.invalid/{path}",
        "rules": [rule],
        "targets": ["x.invalid"] if isinstance(location[-1], int) else None,
        **{key: ["!x.invalid"] for key in ("tags", "namespaces", "containers", "paths")},
        "upstream": ["{registry}"],
    }.get(key)


def _where(parts: Sequence[str]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if part.isdigit() else f".{part}"
    return text.removeprefix(".")


_MESSAGES: Final = {
    "missing": "this key is missing",
    "string_type": "a text is wanted",
    "tuple_type": "a list is wanted",
    "dict_type": "a mapping is wanted",
    "model_type": "a mapping is wanted",
    "model_attributes_type": "a mapping is wanted",
    "int_parsing": "a whole number is wanted",
    "bool_parsing": "true or false is wanted",
    "too_short": "at least one entry is wanted",
}


def _message(error: Any) -> str:
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return _MESSAGES.get(error["type"]) or (f"{text} is wanted" if error["type"] == "literal_error" else text)


def _did_you_mean(given: str, known: Sequence[str]) -> str:
    close = get_close_matches(given, known, n=1, cutoff=0.5)
    return f' (did you mean "{close[0]}"?)' if close else ""


def _keys_at(location: Sequence[Any]) -> list[str]:
    """The keys that a mapping of the file may have."""
    model: type[BaseModel] = Configuration
    skip = 0
    for part in location:
        if skip:
            skip -= 1
            continue
        field = next((one for name, one in model.model_fields.items() if (one.alias or name) == part), None)
        if field is None:
            return []
        inner = next(_models_in(field.annotation), None)
        if inner is None:
            return []
        skip = 0 if isinstance(field.annotation, type) or _is_optional(field.annotation, inner) else 1
        model = inner
    return [field.alias or name for name, field in model.model_fields.items() if name != "tables"]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _is_optional(annotation: Any, model: type[BaseModel]) -> bool:
    return set(get_args(annotation)) == {model, type(None)}
