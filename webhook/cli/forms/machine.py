"""JSON of what was decided, patches, and the bare list of images."""

from collections.abc import Sequence

from webhook.cli.common import pretty
from webhook.cli.forms import Checked, as_data, results_of, source_of


def json(checked: Sequence[Checked]) -> str:
    """The CheckResult."""
    return pretty(as_data(checked))


def patch(checked: Sequence[Checked]) -> str:
    """A JSON patch (RFC 6902) per object that changes, as one JSON list."""
    patches = [
        {
            "source": source_of(result.found),
            "kind": result.found.subject.kind,
            "namespace": result.found.subject.namespace,
            "name": result.found.subject.name,
            "patch": [{"op": "replace", "path": pointer, "value": text} for pointer, text in changes],
        }
        for result in results_of(checked)
        if (changes := result.changes)
    ]
    return pretty(patches)


def images(checked: Sequence[Checked]) -> str:
    """The names that nodes will pull, each once, sorted: for pre-pulling."""
    names = {
        one.to or one.slot.text
        for result in results_of(checked)
        for one in result.decisions
        if one.slot.image is not None
    }
    return "".join(f"{name}\n" for name in sorted(names))
