"""JSON and YAML of what was decided, patches, and the bare list of images."""

from collections.abc import Sequence

import msgspec

from webhook.cli.forms import CHANGES, Result, as_data


def json(results: Sequence[Result]) -> str:
    """The CheckResult."""
    return msgspec.json.format(msgspec.json.encode(as_data(results)), indent=2).decode() + "\n"


def patch(results: Sequence[Result]) -> str:
    """A JSON patch (RFC 6902) per object that changes, as one JSON list."""
    patches = [
        {
            "source": f"{result.found.source}:{result.found.line}",
            "kind": result.found.subject.kind,
            "namespace": result.found.subject.namespace,
            "name": result.found.subject.name,
            "patch": [
                {"op": "replace", "path": one.slot.pointer, "value": one.to}
                for one in result.decisions
                if one.action in CHANGES
            ],
        }
        for result in results
        if any(one.action in CHANGES for one in result.decisions)
    ]
    return msgspec.json.format(msgspec.json.encode(patches), indent=2).decode() + "\n"


def images(results: Sequence[Result]) -> str:
    """The names that nodes will pull, each once, sorted: for pre-pulling."""
    names = {one.to or one.slot.text for result in results for one in result.decisions if one.slot.image is not None}
    return "".join(f"{name}\n" for name in sorted(names))
