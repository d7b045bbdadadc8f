"""What `{name}` in a template stands for: `--set`, else MOORAGE_VAR_NAME, else the file."""

import re
from collections.abc import Mapping
from typing import Final

from webhook.core.reference import BadReference, Reference, is_host, looks_like_host
from webhook.core.targets import PLACEHOLDERS, Place
from webhook.settings import Variable
from webhook.trouble import Findings, did_you_mean, pointer_to

PREFIX: Final = "MOORAGE_VAR_"

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SAMPLE: Final = Reference("registry.example.com", "team/app")


def values_of(
    variables: Mapping[str, Variable], environ: Mapping[str, str], given: Mapping[str, str], findings: Findings
) -> dict[str, str]:
    """All variables with their values, those of tables looked up."""
    for name in variables:
        _check_name(name, findings)
    names = {name.upper(): name for name in variables}
    outside = {
        names.get(name.removeprefix(PREFIX), name.removeprefix(PREFIX).lower()): value
        for name, value in environ.items()
        if name.startswith(PREFIX)
    } | dict(given)
    values = {name: one.value for name, one in variables.items() if one.value is not None} | outside
    for name, one in variables.items():
        if (one.value is None) == (one.from_ is None):
            findings.refuse(pointer_to("vars", name), "write a text, or a table as {from: region, map: {…}}")
        elif one.from_ is not None and name not in outside:
            looked_up = _looked_up(name, one, values, findings)
            if looked_up is not None:
                values[name] = looked_up
    return {name: value for name, value in values.items() if name not in PLACEHOLDERS}


def _check_name(name: str, findings: Findings) -> None:
    if _NAME.fullmatch(name) is None:
        findings.refuse(
            pointer_to("vars", name), "a variable's name is made of letters, digits and underscores", of_key=True
        )
    elif name in PLACEHOLDERS:
        findings.refuse(pointer_to("vars", name), f"{{{name}}} already stands for a part of the image", of_key=True)


def _looked_up(name: str, one: Variable, values: Mapping[str, str], findings: Findings) -> str | None:
    chosen = values.get(one.from_ or "")
    if chosen is None:
        hint = did_you_mean(one.from_ or "", list(values))
        findings.refuse(pointer_to("vars", name, "from"), f'there is no variable "{one.from_}"{hint}')
        return None
    if chosen not in one.map:
        known = ", ".join(one.map) or "nothing"
        findings.refuse(
            pointer_to("vars", name, "map"), f'no entry for "{chosen}", the value of {one.from_} (there is {known})'
        )
        return None
    return one.map[chosen]


class Templates:
    """Fills variables into templates; `used` are the names that stood in any of them. `unknown` are variables without
    a value that were told about already, None for all."""

    def __init__(self, values: Mapping[str, str], unknown: frozenset[str] | None, findings: Findings) -> None:
        self._values = values
        self._unknown = unknown
        self._findings = findings
        self.used: set[str] = set()

    def place(self, pointer: str, text: str) -> Place | None:
        """The template with its variables filled; None when it can give no image names, which the findings then say."""
        problem = self._braces_problem(text)
        if problem is not None:
            if problem:
                self._findings.refuse(pointer, problem)
            return None
        filled = _BRACES.sub(lambda found: self._values.get(found[1], found[0]), text)
        problem = _problem_of(filled)
        if problem is not None:
            self._findings.refuse(pointer, problem)
            return None
        return Place(filled)

    def _braces_problem(self, text: str) -> str | None:
        """Why its placeholders cannot be filled; empty when that was told elsewhere, None when they can."""
        for name in _BRACES.findall(text):
            self.used.add(name)
            if name in PLACEHOLDERS or name in self._values:
                continue
            if self._unknown is None or name in self._unknown:
                return ""
            known = [*PLACEHOLDERS, *self._values]
            return f"there is no placeholder or variable {{{name}}}{did_you_mean(name, known) or _there_is(known)}"
        if "{" in _BRACES.sub("", text) or "}" in _BRACES.sub("", text):
            return "a brace without its other half"
        return None


def _there_is(known: list[str]) -> str:
    return f" (there is {', '.join(known)})"


def _problem_of(template: str) -> str | None:
    """Why this template, filled, gives no image names; None when it does."""
    host, slash, _ = template.partition("/")
    if "://" in template:
        return f'write it without scheme (did you mean "{template.partition("://")[2]}"?)'
    if host != "{registry}" and "{" in host:
        return "the host of a target cannot be made of the image's own name"
    if host != "{registry}" and (not is_host(host) or not looks_like_host(host)):
        return f'"{host}" is no registry host: it holds no dot, no port, and is not localhost'
    if "{path}" not in template and "{repository}" not in template:
        end = "" if template.endswith("/") or not slash else "/"
        hint = f"{template}{end}{{path}}" if slash else f"{template}/{{path}}"
        return f'every image would get the same name (did you mean "{hint}"?)'
    try:
        Place(template).fill(_SAMPLE)
    except BadReference as bad:
        return f"it gives no image name: {bad}"
    return None
