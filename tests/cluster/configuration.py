"""The configuration that most tests serve with: everything from one upstream, to the node's own cache."""

import json
from typing import Any, Final

CACHE: Final = "localhost:30081"


def configuration(host: str, *, rule: dict[str, Any] | None = None, **more: Any) -> str:
    """As a file's text. `rule` are further keys of the one rule; `more` are keys of the file, also instead of ours."""
    file = {
        "apiVersion": "moorage.dev/v1alpha1",
        "kind": "Configuration",
        "registries": {host: {"plainHTTP": True, "allowLoopback": True, "credentials": ["anonymous"]}},
        "rules": [{"name": "private", "images": [f"{host}/**"], "targets": [CACHE], **(rule or {})}],
        **more,
    }
    # JSON is YAML.
    return json.dumps(file)
