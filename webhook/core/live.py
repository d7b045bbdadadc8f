"""A live object as the API server keeps it, and as one of its next Pods."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from webhook.core.admission import MIRROR
from webhook.core.current import Kept, Next, is_topmost, kept, next_pods
from webhook.core.registration import INSTALLED_IN, NEVER
from webhook.core.revision import Kind
from webhook.core.subject import BadObject, Metadata, Subject, owner_of, subject_of
from webhook.core.workload import KINDS, POD, REPLICA_SET, Resource

Manifest = dict[str, Any]

_OPERATORS: Final = {"In": "{0} in ({1})", "NotIn": "{0} notin ({1})", "Exists": "{0}", "DoesNotExist": "!{0}"}


class Live(msgspec.Struct, frozen=True):
    """A live object. `manifest` is what the API server gives, without status and managedFields; `subject` is one of its
    next Pods; `unseen` says why admission never sees them, empty where it does."""

    resource: Resource
    manifest: Mapping[str, Any]
    subject: Subject
    next: Next | None = None
    revisions: tuple[Kept, ...] = ()
    unseen: str = ""


class Unread(msgspec.Struct, frozen=True):
    """What the API server did not give, and why. `is_missing` where there is no such thing, or none that makes Pods."""

    name: str
    namespace: str
    message: str
    is_missing: bool = False


class _Item(msgspec.Struct):
    metadata: Metadata


_item: Final = msgspec.json.Decoder(_Item)
_manifest: Final = msgspec.json.Decoder(Manifest)


def made_of(
    resource: Resource,
    manifest: Manifest,
    revisions: Mapping[str, list[Kept]] | Unread,
    templates: Mapping[str, str],
) -> Live | Unread:
    """A live object from its JSON and the revisions of its kind, by the uid of their workload."""
    metadata = manifest["metadata"]
    namespace = str(metadata.get("namespace", ""))
    name = f"{resource.word}/{metadata.get('name', '')}"
    if isinstance(revisions, Unread):
        return Unread(name, namespace, f"its revisions cannot be read: {revisions.message}")
    own = revisions.get(str(metadata.get("uid", "")), [])
    try:
        following = next_pods(manifest, own)
        subject = subject_of(manifest, namespace=namespace, templates=templates)
    except (BadObject, msgspec.ValidationError) as bad:
        return Unread(name, namespace, str(bad), is_missing=True)
    if subject is None:
        return Unread(name, namespace, "it has no Pod template", is_missing=True)
    if resource is not POD:
        # The object's own controller, an operator, is not that of its Pods.
        subject = following.given_to(subject) if following else msgspec.structs.replace(subject, owner=None)
    shown = {key: value for key, value in manifest.items() if key != "status"}
    return Live(resource, shown, subject, following, tuple(own), unseen(subject))


def by_controller(kind: Kind, manifests: Iterable[Manifest]) -> dict[str, list[Kept]]:
    """Revisions by the uid of their workload; what has another shape stands for none."""
    revisions: dict[str, list[Kept]] = {}
    for one in manifests:
        try:
            read = kept(kind, one)
        except msgspec.ValidationError:
            continue
        revisions.setdefault(read.controller, []).append(read)
    return revisions


def manifest_of(resource: Resource, item: bytes | msgspec.Raw) -> Manifest:
    """An object as kubectl shows it: items of a list do not say what they are, and managedFields are for nobody."""
    manifest = _manifest.decode(item)
    metadata = {key: value for key, value in manifest.get("metadata", {}).items() if key != "managedFields"}
    return {"apiVersion": resource.api_version, "kind": resource.kind, **manifest, "metadata": metadata}


def may_stand_alone(item: msgspec.Raw) -> bool:
    """Whether a Pod has no controller of Kubernetes' own: of a large cluster's Pods few are wanted."""
    owner = owner_of(_item.decode(item).metadata)
    return owner is None or all((owner.group, owner.kind) != (one.group, one.kind) for one in KINDS)


def is_shown(resource: Resource, manifest: Manifest, known: Collection[tuple[str, str]]) -> bool:
    """Whether an object makes Pods and is made by nothing that is shown itself; `known` are groups and kinds."""
    metadata = msgspec.convert(manifest["metadata"], Metadata)
    if MIRROR in (metadata.annotations or {}) or not is_topmost(metadata, known):
        return False
    # Of a workload that we do not know the old ReplicaSets make no Pods.
    is_old = resource is REPLICA_SET and owner_of(metadata) is not None and not manifest.get("spec", {}).get("replicas")
    return not is_old


def scope_of(manifest: Manifest) -> tuple[str, str]:
    """In which namespace, and under which label selector, an object's revisions are."""
    selector = manifest.get("spec", {}).get("selector")
    return str(manifest["metadata"].get("namespace", "")), selector_text(selector if isinstance(selector, dict) else {})


def selector_text(selector: Mapping[str, Any]) -> str:
    """A label selector as it stands in a query; one of another shape selects everything."""
    labels, lines = selector.get("matchLabels"), selector.get("matchExpressions")
    equal = [f"{name}={value}" for name, value in labels.items()] if isinstance(labels, dict) else []
    others = [
        _OPERATORS[line["operator"]].format(line["key"], ",".join(line.get("values") or ()))
        for line in (lines if isinstance(lines, list) else ())
        if isinstance(line, dict) and line.get("operator") in _OPERATORS
    ]
    return ",".join([*equal, *others])


def unseen(subject: Subject) -> str:
    """Why admission never sees Pods of a live object; empty where it does."""
    if subject.namespace in {*NEVER, INSTALLED_IN}:
        return f"Pods of namespace {subject.namespace} do not come to Moorage"
    return "a mirror Pod is what its node made of a file" if MIRROR in subject.annotations else ""
