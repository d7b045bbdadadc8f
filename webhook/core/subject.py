"""The thing decided on: a Pod, a template or a revision, and the slots where it names images."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from webhook.core.reference import BadReference, Reference, is_dialable, parsed

IMAGE_FIELDS: Final = (
    ("containers", ("image",)),
    ("initContainers", ("image",)),
    ("ephemeralContainers", ("image",)),
    ("volumes", ("image", "reference")),
)
"""Where a Pod's spec keeps image names: the list, and the way from one of its items to the text."""

TEMPLATES: Final[Mapping[str, str]] = {
    "Pod": "",
    "PodTemplate": "/template",
    "ReplicationController": "/spec/template",
    "Deployment.apps": "/spec/template",
    "ReplicaSet.apps": "/spec/template",
    "StatefulSet.apps": "/spec/template",
    "DaemonSet.apps": "/spec/template",
    "Job.batch": "/spec/template",
    "CronJob.batch": "/spec/jobTemplate/spec/template",
}
"""Kind.group to the JSON pointer of its Pod template; `templates:` of the configuration adds to it."""

LEFT_ALONE: Final = frozenset({"", "auto"})
"""Texts that name no image: istio writes `auto` where its injector fills the image in later."""

HASH_LABELS: Final = ("pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash")
"""Labels of Pods that name their revision: of a Deployment's, an Argo Rollout's, a StatefulSet's or DaemonSet's."""

SKIP: Final = "moorage.dev/skip"
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
MOST_SECRETS: Final = 32
"""Pull secrets of one Pod that are looked at: each of them costs a request, and an author may write any number."""
MOST_LETTERS: Final = 254
"""Letters of a name that are kept: one more than a name can have."""
_PATH = re.compile(r"\.([A-Za-z0-9_]+)|\[([0-9]+)\]", re.ASCII)
"""The parts of a place as msgspec tells it: `$.spec.containers[0].image`."""
_JOB_OF_CRONJOB = re.compile(r"-[0-9]{8,10}$", re.ASCII)


Shape = TypeVar("Shape", bound=msgspec.Struct)


class Slot(msgspec.Struct, frozen=True, gc=False):
    """One place that holds an image.

    `pointer` is its JSON pointer in the object, `field` and `container` name the list and the item,
    `image` is None when `text` is no reference; `problem` then says why.
    """

    pointer: str
    field: str
    container: str
    text: str
    image: Reference | None
    problem: str = ""


class Owner(msgspec.Struct, frozen=True, gc=False):
    """The controller of a Pod. `hash` is the label that names the revision; `uid` is empty outside a cluster."""

    kind: str
    name: str
    uid: str = ""
    hash: str = ""
    group: str = ""


def is_namespace(name: str) -> bool:
    """Whether a namespace may be called so."""
    return _NAMESPACE.fullmatch(name) is not None


class Audience(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """On whose behalf a registry is asked: decides which credentials may be used. Never taken from metadata. It is looked
    up by at every question."""

    namespace: str
    account: str = ""
    secrets: tuple[str, ...] = ()


class Subject(msgspec.Struct, frozen=True, gc=False):
    """What a decision is about. `workload` is the owner's name without its template hash, so that a Deployment, its
    ReplicaSets and its Pods share it. `namespace_labels` is None where nobody knows them."""

    kind: str
    namespace: str
    name: str
    workload: str
    audience: Audience
    slots: tuple[Slot, ...]
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    owner: Owner | None = None
    is_revision: bool = False
    namespace_labels: Mapping[str, str] | None = None

    @property
    def opted_out(self) -> bool:
        """Whether the Pod or its namespace asks to be left alone."""
        return "true" in (self.annotations.get(SKIP), self.labels.get(SKIP), (self.namespace_labels or {}).get(SKIP))


class Container(msgspec.Struct, frozen=True, gc=False):
    """As much of a container as names its image."""

    name: str = ""
    image: str | None = None


class ImageVolume(msgspec.Struct, frozen=True, gc=False):
    """As much of an image volume as names its image."""

    reference: str | None = None


class Volume(msgspec.Struct, frozen=True, gc=False):
    """As much of a volume as names its image."""

    name: str = ""
    image: ImageVolume | None = None


class SecretName(msgspec.Struct, frozen=True, gc=False):
    """An entry of imagePullSecrets."""

    name: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """As much of a Pod's spec as deciding needs."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    ephemeral_containers: tuple[Container, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    image_pull_secrets: tuple[SecretName, ...] | None = None
    service_account_name: str | None = None


class OwnerReference(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """An entry of ownerReferences."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    api_version: str = ""


class Metadata(msgspec.Struct, rename="camel", gc=False):
    """As much of an object's metadata as deciding needs."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Pod(msgspec.Struct, gc=False):
    """A Pod or a Pod template."""

    metadata: Metadata | None = None
    spec: PodSpec | None = None


def pod_slots(spec: PodSpec, at: str = "") -> tuple[Slot, ...]:
    """The slots of a Pod spec whose object has its Pod at JSON pointer `at`."""
    found = _container_slots(spec.containers, "containers", at) if spec.containers else []
    if spec.init_containers:
        found += _container_slots(spec.init_containers, "initContainers", at)
    if spec.ephemeral_containers:
        found += _container_slots(spec.ephemeral_containers, "ephemeralContainers", at)
    for index, volume in enumerate(spec.volumes or ()):
        if volume.image is not None and volume.image.reference is not None and volume.image.reference not in LEFT_ALONE:
            pointer = f"{at}/spec/volumes/{index}/image/reference"
            found.append(_slot(pointer, "volumes", volume.name, volume.image.reference))
    return tuple(found)


def _container_slots(containers: Sequence[Container], field: str, at: str) -> list[Slot]:
    return [
        _slot(f"{at}/spec/{field}/{index}/image", field, container.name, container.image)
        for index, container in enumerate(containers)
        if container.image is not None and container.image not in LEFT_ALONE
    ]


def _slot(pointer: str, field: str, container: str, text: str) -> Slot:
    image = parsed(text)
    if isinstance(image, BadReference):
        return Slot(pointer, field, container, text, None, image.why)
    if not is_dialable(image.registry):
        return Slot(pointer, field, container, text, None, f"{image.registry} has a port that does not exist")
    return Slot(pointer, field, container, text, image)


def owner_of(metadata: Metadata) -> Owner | None:
    """The controller of a Pod, with the hash label of its revision."""
    for reference in metadata.owner_references or ():
        if reference.controller:
            labels = metadata.labels or {}
            group = reference.api_version.rpartition("/")[0]
            return Owner(reference.kind, reference.name, reference.uid, revision_hash(labels), group)
    return None


def revision_hash(labels: Mapping[str, str]) -> str:
    """What names the revision in an object's labels; empty where nothing does."""
    for label in HASH_LABELS:
        if label in labels:
            return labels[label]
    return ""


def workload_of(kind: str, metadata: Metadata) -> str:
    """The name under which a workload is known over all its rollouts; empty for a nameless object."""
    owner = owner_of(metadata)
    if owner is not None:
        return _without_hash(owner.kind, owner.name, owner.hash)
    name = metadata.name or (metadata.generate_name or "").rstrip("-")
    return _without_hash(kind, name, revision_hash(metadata.labels or {}))


def _without_hash(kind: str, name: str, revision: str) -> str:
    if kind == "ReplicaSet" and revision:
        return name.removesuffix(f"-{revision}")
    if kind == "Job":
        return _JOB_OF_CRONJOB.sub("", name)
    return name


def audience_of(spec: PodSpec, namespace: str) -> Audience:
    """Whose credentials may answer for this Pod. `namespace` is the request's, never the object's own."""
    secrets = spec.image_pull_secrets
    return Audience(namespace, spec.service_account_name or "", names_of(secrets) if secrets else ())


def names_of(secrets: Sequence[SecretName]) -> tuple[str, ...]:
    """The names of pull secrets: no more of them, and of each, than show that there were more."""
    return tuple([secret.name[:MOST_LETTERS] for secret in secrets[: MOST_SECRETS + 1]])


def subject_of_pod(pod: Pod, namespace: str) -> Subject:
    """A Pod at its admission."""
    metadata = pod.metadata or Metadata()
    spec = pod.spec or PodSpec()
    return Subject(
        "Pod",
        namespace,
        metadata.name or metadata.generate_name or "",
        workload_of("Pod", metadata),
        audience_of(spec, namespace),
        pod_slots(spec),
        metadata.labels or {},
        metadata.annotations or {},
        owner_of(metadata),
    )


class BadObject(ValueError):
    """An object whose Pod template cannot be read; says where in the object and why."""

    def __init__(self, kind: str, pointer: str, why: str) -> None:
        super().__init__(f"{kind}: {pointer}: {why}")
        self.kind = kind
        self.pointer = pointer
        self.why = why


def subjects_of(
    document: Mapping[str, Any], *, namespace: str, templates: Mapping[str, str] = TEMPLATES, at: str = ""
) -> Iterator[tuple[str, Mapping[str, Any], Subject]]:
    """The subjects of a manifest: itself, or the items of a List; objects of other kinds give none.

    Yields the JSON pointer of the object within the document, the object, and its subject, whose slots' pointers
    start at the object. `namespace` stands in where an object names none.

    Raises:
        BadObject: a known kind whose template has the wrong shape.
    """
    for place, one in objects_in(document, at=at):
        subject = subject_of(one, namespace=namespace, templates=templates)
        if subject is not None:
            yield place, one, subject


def objects_in(document: Mapping[str, Any], *, at: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The object itself, or the items of a List, each with its JSON pointer."""
    items = document.get("items")
    if not str(document.get("kind", "")).endswith("List") or not isinstance(items, list):
        yield at, document
        return
    for index, item in enumerate(items):
        if isinstance(item, Mapping):
            yield from objects_in(_named(item, document), at=f"{at}/items/{index}")


def _named(item: Mapping[str, Any], listed: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item of a list with the kind that it need not say itself in a DeploymentList, as the API server gives one."""
    kind = str(listed["kind"]).removesuffix("List")
    if not kind or item.get("kind") or item.get("apiVersion"):
        return item
    return {**item, "apiVersion": listed.get("apiVersion"), "kind": kind}


def subject_of(
    document: Mapping[str, Any], *, namespace: str, templates: Mapping[str, str] = TEMPLATES
) -> Subject | None:
    """The subject of one object that is no List; None for kinds without a known Pod template.

    Raises:
        BadObject: a known kind whose template has the wrong shape.
    """
    pointer = _pointer_of(document, templates)
    kind = str(document.get("kind", ""))
    return None if pointer is None else _subject_of_template(document, kind, pointer, namespace)


def template_in(document: Mapping[str, Any], templates: Mapping[str, str] = TEMPLATES) -> Any:
    """The Pod template of an object, or the Pod itself; None for kinds without a known one, or where it is missing."""
    pointer = _pointer_of(document, templates)
    return None if pointer is None else _at(document, pointer)


def _pointer_of(document: Mapping[str, Any], templates: Mapping[str, str]) -> str | None:
    kind, group = str(document.get("kind", "")), str(document.get("apiVersion", "")).rpartition("/")[0]
    return templates.get(f"{kind}.{group}" if group else kind)


def _at(document: Mapping[str, Any], pointer: str) -> Any:
    found: Any = document
    for part in pointer.split("/")[1:]:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _subject_of_template(document: Mapping[str, Any], kind: str, pointer: str, namespace: str) -> Subject:
    found = _at(document, pointer)
    metadata = _read(document.get("metadata") or {}, Metadata, kind, "/metadata")
    template = _read(found or {}, Pod, kind, pointer)
    inner = template.metadata or Metadata()
    spec = template.spec or PodSpec()
    home = metadata.namespace or namespace
    return Subject(
        kind,
        home,
        metadata.name or metadata.generate_name or "",
        workload_of(kind, metadata),
        audience_of(spec, home),
        pod_slots(spec, pointer),
        inner.labels or {},
        inner.annotations or {},
        owner_of(metadata),
    )


def _read(value: Any, shape: type[Shape], kind: str, pointer: str) -> Shape:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as wrong:
        why, _, path = str(wrong).partition(" - at ")
        parts = [name or number for name, number in _PATH.findall(path)]
        raise BadObject(kind, "/".join([pointer, *parts]), why) from None
