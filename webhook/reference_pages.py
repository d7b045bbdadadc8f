"""Writes the generated parts of the pages under docs/: what stands between two markers follows from the code."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from webhook.cli.main import app
from webhook.core.reason import MEANING, Reason
from webhook.diagnosis.finding import LOOKS_AT, Check
from webhook.diagnosis.rights import OF_PERSON
from webhook.schema import Schema, json_schema, schema_text
from webhook.telemetry import Telemetry

SCHEMA: Final = "moorage.schema.json"
Block = Callable[[], str]

_BLOCK: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def configuration() -> str:
    """All settings, one table a mapping, in the order in which they are met in the file."""
    whole = json_schema()
    definitions: dict[str, Schema] = whole["definitions"]
    lines: list[str] = []
    for name, body in [("The file", whole), *((name, definitions[name]) for name in _order(whole, definitions))]:
        lines += [
            f"### {name}",
            "",
            body["description"],
            "",
            "| key | value | default | meaning |",
            "|---|---|---|---|",
        ]
        required = body.get("required", ())
        lines += [_row(key, value, is_required=key in required) for key, value in body["properties"].items()]
        lines.append("")
    return "\n".join(lines)


def metrics() -> str:
    """Every metric, in the order in which they are exposed."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{family.name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | {family.meaning} |"
        for family in Telemetry().families
    ]
    return "\n".join(lines)


def reasons() -> str:
    """Every reason, in the order of the list."""
    return "\n".join(["| reason | meaning |", "|---|---|", *(f"| `{one.value}` | {MEANING[one]} |" for one in Reason)])


def commands() -> str:
    """Every command with its options, as `--help` tells them."""
    return "\n\n".join(_command("moorage", command) for command in _each(typer.main.get_command(app)))


def _each(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _each(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def _command(program: str, named: tuple[str, Any]) -> str:
    name, command = named
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = " ".join([program, name, *(["[OPTIONS]"] if options else []), *map(_argument, arguments)])
    lines = [f"### {name}", "", command.help, "", "```text", usage, "```"]
    if options:
        lines += ["", "| option | meaning | default |", "|---|---|---|"]
        lines += [f"| {_flags(one)} | {one.help or ''} | {_default(one)} |" for one in options]
    return "\n".join(lines)


def _argument(one: Any) -> str:
    kind = one.type_descriptor.annotation
    words = list(kind) if isinstance(kind, type) and issubclass(kind, StrEnum) else []
    name = "|".join(words) or one.metavar or one.name.upper()
    return f"{name if one.required else f'[{name}]'}{'...' if one.nargs < 0 else ''}"


def _flags(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in [*sorted(option.opts, key=len), *option.secondary_opts])
    if option.is_flag:
        return flags
    choices = type(option.default) if isinstance(option.default, StrEnum) else ()
    value = ", ".join(f"`{one.value}`" for one in choices) or f"`{option.metavar}`"
    return f"{flags} {value}"


def _default(option: Any) -> str:
    given = option.default
    is_told = isinstance(given, str | int) and not isinstance(given, bool) and given != ""
    return f"`{given}`" if is_told else ""


def checks() -> str:
    """What doctor looks at, in the order in which it tells it."""
    return "\n".join(["| check | looks at |", "|---|---|", *(f"| `{one}` | {LOOKS_AT[one]} |" for one in Check)])


def rights() -> str:
    """What doctor wants of whoever runs it."""
    lines = [f"| `{right}` | {right.without} |" for right in OF_PERSON]
    return "\n".join(["| right | for |", "|---|---|", *lines])


BLOCKS: Final[Mapping[str, Block]] = {
    "checks": checks,
    "commands": commands,
    "configuration": configuration,
    "metrics": metrics,
    "reasons": reasons,
    "rights": rights,
}


def generated(page: str, blocks: Mapping[str, Block] = BLOCKS) -> str:
    """The page with all its generated parts as they should be."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{blocks[found[2]]()}\n{found[3]}", page)


def pages(folder: Path) -> Iterator[tuple[Path, str]]:
    """All files that hold generated parts, and what should stand in them."""
    for page in sorted(folder.glob("*.md")):
        yield page, generated(page.read_text(encoding="utf-8"))
    yield folder / SCHEMA, schema_text()


def _order(whole: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    order: dict[str, None] = {}

    def visit(body: Schema) -> None:
        for name in dict.fromkeys(_refs(body["properties"])):
            if name not in order:
                order[name] = None
                visit(definitions[name])

    visit(whole)
    return list(order)


def _refs(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for inner in part.values():
            yield from _refs(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _refs(inner)


def _row(key: str, value: Schema, *, is_required: bool) -> str:
    default = value.get("default")
    shown = f"`{msgspec.json.encode(default).decode()}`" if default not in (None, [], {}) else ""
    return f"| `{key}` | {_kind(value)} | {'required' if is_required else shown} | {value['description']} |"


def _kind(value: Schema) -> str:
    """What may stand there, in few words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "allOf" in value:
        return _kind(value["allOf"][0])
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(one) for one in value["anyOf"] if one.get("type") != "null"))
    if "enum" in value or "const" in value:
        return ", ".join(f"`{one}`" for one in value.get("enum", [value.get("const")]))
    kind = value.get("type")
    if kind == "array":
        return f"list of {_kind(value['items'])}"
    if kind == "object":
        return f"mapping of names to {_kind(value['additionalProperties'])}"
    if "pattern" in value and "ms|" in value["pattern"]:
        return "duration"
    if "pattern" in value and "%" in value["pattern"]:
        return "percentage"
    return {"string": "text", "integer": "number", "boolean": "true or false"}[str(kind)]


def main(folder: Path = Path("docs")) -> int:
    """Write all generated files of the folder anew; ends with 1 when one was out of date."""
    old = [path for path, text in pages(folder) if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path, text in pages(folder):
        if path in old:
            path.write_text(text, encoding="utf-8")
            sys.stderr.write(f"{path} written\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
