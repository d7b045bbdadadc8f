"""The settings in effect, as a configuration file: defaults filled in, variables with their values."""

from typing import Any

from webhook.config import Loaded
from webhook.document import written
from webhook.settings import Registry


def shown(loaded: Loaded) -> str:
    """A YAML text that means the same as what was loaded."""
    return written(effective(loaded))


def effective(loaded: Loaded) -> dict[str, Any]:
    """The settings as plain values. They hold no secret, because the file can hold none."""
    data: dict[str, Any] = loaded.settings.model_dump(mode="json", by_alias=True, exclude_none=True)
    data["vars"] = dict(loaded.variables)
    data["registries"] |= {
        host: Registry().model_dump(mode="json", by_alias=True, exclude_none=True)
        for host in loaded.registries.literal
        if host not in data["registries"]
    }
    for registry in data["registries"].values():
        registry["credentials"] = [_credential(one) for one in registry["credentials"]]
    for target in data["targets"].values():
        _fill_target(target)
    for rule in data["rules"]:
        for key, value in data["defaults"].items():
            rule.setdefault(key, value)
    return data


def _credential(one: dict[str, Any]) -> Any:
    everywhere = one["namespaces"] == ["*"] and one["paths"] == ["**"]
    return one["kind"] if everywhere and "file" not in one else one


def _fill_target(target: dict[str, Any]) -> None:
    target.setdefault("verify", "off")
    health = target.get("health")
    if health is not None:
        health["ready"] = f"{health['ready']}%"
