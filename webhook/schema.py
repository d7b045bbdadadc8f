"""The JSON Schema of the configuration, in the dialect that editors know (draft-07)."""

from typing import Any

from webhook.settings import Configuration

_DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_WORDS = {"verify": ["off", "digest"], "credentials": ["pod", "ecr", "acr", "gar", "anonymous"]}


def json_schema() -> dict[str, Any]:
    """The schema, with the short spellings that are taken too."""
    schema = Configuration.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions = schema.pop("$defs", {})
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Moorage configuration", **schema}
    properties = schema["properties"]
    del properties["tables"]
    properties["vars"]["additionalProperties"] = {"anyOf": [{"type": "string"}, {"$ref": "#/definitions/Table"}]}
    _also(definitions["Target"]["properties"], "verify", {"enum": _WORDS["verify"]})
    credentials = definitions["Registry"]["properties"]["credentials"]
    credentials["items"] = {"anyOf": [credentials["items"], {"enum": _WORDS["credentials"]}]}
    definitions["Credential"].pop("required", None)
    for model, names in (("Resolving", ("fresh", "stale", "notFound", "budget")), ("Health", ("interval",))):
        for name in names:
            described = definitions[model]["properties"][name]
            described.update({"type": "string", "pattern": _DURATION})
            described.pop("default", None)
    for model, name in (("Health", "ready"), ("Rule", "percent")):
        _also(definitions[model]["properties"], name, {"type": "string", "pattern": r"^[0-9]{1,3}\s*%?$"})
    return {**schema, "definitions": definitions}


def _also(properties: dict[str, Any], name: str, more: dict[str, Any]) -> None:
    one = properties[name]
    kept = {key: one.pop(key) for key in ("description", "title", "default") if key in one}
    properties[name] = {**kept, "anyOf": [one, more]}
