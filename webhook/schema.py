"""The configuration's JSON Schema, in the draft that editors read, with the texts that stand under the settings."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec

from webhook import settings

DRAFT: Final = "http://json-schema.org/draft-07/schema#"

Schema = dict[str, Any]


class Described(msgspec.Struct, frozen=True):
    """A mapping of the file: what it is, and what each of its keys means."""

    text: str
    keys: dict[str, str]


def json_schema() -> Schema:
    """The whole schema."""
    found: Schema = settings.Configuration.model_json_schema(ref_template="#/definitions/{model}")
    definitions: dict[str, Schema] = found.pop("$defs")
    texts = described()
    for name, body in (("Configuration", found), *definitions.items()):
        _describe(body, texts[name], getattr(settings, name))
    _loosen_credential(definitions["Credential"])
    done: Schema = _in_draft_7({**found, "definitions": dict(sorted(definitions.items()))})
    return {"$schema": DRAFT, "title": "Moorage configuration", **done}


def described() -> dict[str, Described]:
    """The texts of all settings, by the name of their model and key."""
    module = ast.parse(inspect.getsource(settings))
    return {
        one.name: Described(_joined(ast.get_docstring(one) or ""), dict(_texts(one)))
        for one in module.body
        if isinstance(one, ast.ClassDef) and one.name != "Settings"
    }


def _texts(model: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(model.body, model.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            yield field.target.id, _joined(str(text.value.value))


def _joined(text: str) -> str:
    return " ".join(text.split())


def _describe(body: Schema, texts: Described, model: type[settings.Settings]) -> None:
    body["description"] = texts.text
    body.pop("title", None)
    for name, field in model.model_fields.items():
        key = body["properties"][field.alias or name]
        key.pop("title", None)
        key["description"] = texts.keys[name]
        if key.get("default", ...) is None:
            del key["default"]
        elif isinstance(key.get("default"), float):
            key["default"] = settings.duration(key["default"])


def _loosen_credential(body: Schema) -> None:
    """`{file: docker.json}` says its kind by its key."""
    del body["required"]
    body["anyOf"] = [{"required": ["kind"]}, {"required": ["file"]}]


def _in_draft_7(part: Any) -> Any:
    """Nothing may stand beside a $ref there: it would not be read."""
    if isinstance(part, dict):
        inner = {key: _in_draft_7(value) for key, value in part.items()}
        if "$ref" in inner and len(inner) > 1:
            inner["allOf"] = [{"$ref": inner.pop("$ref")}]
        return inner
    return [_in_draft_7(one) for one in part] if isinstance(part, list) else part


@cache
def schema_text() -> str:
    """The JSON Schema as `moorage config schema` prints it."""
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=2).decode() + "\n"
