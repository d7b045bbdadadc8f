"""Siblings: Pods of one controller. What they run decides where no pin does."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from webhook.core.annotation import is_ours, read, source_of
from webhook.core.decision import RESOLVED
from webhook.core.pins import Pinned
from webhook.core.reference import BadReference, is_digest, parsed
from webhook.core.seal import Sealer
from webhook.core.subject import HASH_LABELS, Owner

LIMIT: Final = 20
"""Siblings that are looked at."""

_NUMBERED: Final = "-index"
"""How labels end by which controllers count the Pods of one template: `apps.kubernetes.io/pod-index`,
`batch.kubernetes.io/job-completion-index`, `training.kubeflow.org/replica-index`."""


class Sibling(msgspec.Struct, frozen=True):
    """A Pod of the same controller. `created` in unix milliseconds."""

    name: str
    created: int
    annotations: Mapping[str, str]


def selector_of(labels: Mapping[str, str], owner: Owner, pod: str) -> str:
    """A label selector under which the siblings of a Pod of this name (empty while it has none) are found: by the hash of
    their revision, else by all that the Pods of one template share."""
    for label in HASH_LABELS:
        if owner.hash and labels.get(label) == owner.hash:
            return f"{label}={owner.hash}"
    shared = {
        name: value for name, value in labels.items() if not name.endswith(_NUMBERED) and (not pod or value != pod)
    }
    return ",".join(f"{name}={value}" for name, value in sorted(shared.items()))


def decide(siblings: Iterable[Sibling], owner: Owner, namespace: str, sealer: Sealer) -> Mapping[str, Pinned]:
    """By image name, the digest that the oldest sibling runs; one under our seal goes before any other."""
    found: dict[str, tuple[bool, int, str, str, int]] = {}
    for sibling in siblings:
        images = read(sibling.annotations)
        ours = is_ours(images, namespace, owner.uid, sealer)
        for entry in images.images.values():
            image = parsed(entry.from_)
            if isinstance(image, BadReference) or image.digest is not None or not is_digest(entry.digest):
                continue
            name = image.tagged
            # A digest from a lock or from the image itself stands under our seal too, and no upstream has named it.
            sealed = ours and source_of(entry) in RESOLVED
            one = (not sealed, sibling.created, sibling.name, entry.digest, entry.at or images.time)
            found[name] = min(found.get(name, one), one)
    return {name: Pinned(digest, not unsealed, at) for name, (unsealed, _, _, digest, at) in found.items()}
