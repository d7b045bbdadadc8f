"""The OpenAPI document of the page's API, and the same as rows for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from webhook.page.answers import ANSWERS

_PLACE: Final = "#/components/schemas/"
_LIMITS: Final = (
    ("minimum", "from {}"),
    ("maximum", "up to {}"),
    ("maxLength", "at most {} characters"),
    ("default", "default {}"),
)

Document = dict[str, Any]


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of an operation: its type and bounds in words."""

    name: str
    kind: str
    bounds: str
    description: str


class Operation(msgspec.Struct, frozen=True):
    """A path that is read, and the shape of its answer."""

    path: str
    summary: str
    parameters: list[Parameter]
    answer: str


class Field(msgspec.Struct, frozen=True):
    """A key of a shape. `links` are the shapes that its type names."""

    name: str
    kind: str
    links: list[str]


class Shape(msgspec.Struct, frozen=True):
    """An object of an answer."""

    name: str
    description: str
    fields: list[Field]


def answered_with(shape: type[msgspec.Struct]) -> Document:
    """What an operation says of its answers."""
    return {"responses": {"200": _answer("Known now", shape.__name__), "400": _answer("Wrong parameters", "Trouble")}}


def _answer(description: str, name: str) -> Document:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": f"{_PLACE}{name}"}}}}


def document(made: Document) -> Document:
    """The document that the framework makes, with our shapes in place of those that it brings for its own errors."""
    _, shapes = msgspec.json.schema_components(ANSWERS, ref_template=_PLACE + "{name}")
    for operation in (operation for path in made["paths"].values() for operation in path.values()):
        operation["responses"].pop("422", None)
    return {**made, "components": {"schemas": shapes}}


def operations(whole: Document) -> Iterator[Operation]:
    """Every operation of a document, in its order."""
    for path, methods in whole["paths"].items():
        for operation in methods.values():
            schema = operation["responses"]["200"]["content"]["application/json"].get("schema", {})
            yield Operation(
                path,
                _one_line(operation),
                [_parameter(one) for one in operation.get("parameters", ())],
                _name(schema) if "$ref" in schema else "",
            )


def shapes(whole: Document) -> Iterator[Shape]:
    """Every shape of a document, by name."""
    for name, schema in sorted(whole["components"]["schemas"].items()):
        properties: Mapping[str, Document] = schema.get("properties", {})
        fields = [Field(key, kind(one), list(_links(one))) for key, one in properties.items()]
        yield Shape(name, _one_line(schema), fields)


def _parameter(one: Document) -> Parameter:
    schema = one["schema"]
    bounds = ", ".join(text.format(schema[key]) for key, text in _LIMITS if schema.get(key) not in {None, ""})
    return Parameter(one["name"], kind(schema), bounds, _one_line(one))


def _one_line(described: Document) -> str:
    return " ".join(described.get("description", "").split())


def kind(schema: Document) -> str:
    """A type in a few words: `list of string`, `integer or null`, `"open"`."""
    match schema:
        case {"$ref": _}:
            return _name(schema)
        case {"enum": [*words]}:
            return " or ".join(f'"{word}"' for word in words)
        case {"anyOf": [*others]}:
            return " or ".join(kind(one) for one in others)
        case {"type": "array", "items": items}:
            return f"list of {kind(items)}"
        case {"type": "object", "additionalProperties": dict() as value}:
            return f"map of {kind(value)}"
        case _:
            return str(schema.get("type", "any"))


def _links(schema: Document) -> Iterator[str]:
    if "$ref" in schema:
        yield _name(schema)
    others: Sequence[Document] = schema.get("anyOf", ())
    for one in (
        *others,
        *(schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)),
    ):
        yield from _links(one)


def _name(schema: Document) -> str:
    return str(schema["$ref"]).removeprefix(_PLACE)
