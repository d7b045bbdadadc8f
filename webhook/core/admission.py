"""AdmissionReview bytes to a Review, decisions to answer bytes: the contract of admission.k8s.io/v1.

The API server rejects a Pod, even under failurePolicy Ignore, when a patch decodes but does not apply. So operations
are `replace` on image paths that were seen in this very object, and `add` or `remove` for our one annotation.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from webhook.core.annotation import IMAGES, NOTHING, entries, read, say_the_same
from webhook.core.annotation import written as images_written
from webhook.core.decision import Action, Decision
from webhook.core.pins import fits, written
from webhook.core.reason import Reason, sentence
from webhook.core.revision import KINDS, Kind
from webhook.core.rollout import Event, Rollout, Stored
from webhook.core.rollout import read as read_rollout
from webhook.core.seal import Sealer
from webhook.core.subject import Metadata, OwnerReference, Pod, PodSpec, Slot, Subject, pod_slots, subject_of_pod

MAX_BODY: Final = 7 * 1024 * 1024
"""Bytes: etcd's 3 MiB for the object, twice for the old one, and room (controller-runtime has the same cap)."""
MAX_SLOTS: Final = 256
MIRROR: Final = "kubernetes.io/config.mirror"
ROUNDING: Final = 0.5
"""Seconds off `?timeout=`: the API server rounds what is left up to whole seconds."""

MAX_KNOWN: Final = 32 * 1024
"""Bytes of a review that is worth remembering, and with KNOWN what a flood of reviews can fill memory with."""
KNOWN: Final = 512

_MAX_WARNINGS = 10
_MAX_WARNING = 240
_POINTER_OF_IMAGES = "/metadata/annotations/" + IMAGES.replace("/", "~1")
_DURATION = re.compile(r"(?:([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?)+", re.ASCII)
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_UNIT_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", re.ASCII)


class BadReview(ValueError):
    """The body is no AdmissionReview that can be answered: to be told with HTTP 400."""


class _Resource(msgspec.Struct, frozen=True, gc=False):
    group: str = ""
    resource: str = ""


class _Request(msgspec.Struct, rename="camel", gc=False):
    uid: str
    resource: _Resource = _Resource()
    sub_resource: str = ""
    namespace: str = ""
    operation: str = ""
    object: Pod | None = None
    old_object: msgspec.Raw = msgspec.Raw(b"null")


class _Review(msgspec.Struct, rename="camel", gc=False):
    request: _Request
    api_version: str = ""
    kind: str = ""


class _Envelope(msgspec.Struct, rename="camel", gc=False):
    """What of a request must be right so that it can be answered at all."""

    uid: str
    operation: msgspec.Raw = msgspec.Raw(b"null")


class _Outer(msgspec.Struct, rename="camel", gc=False):
    request: _Envelope
    api_version: str = ""
    kind: str = ""


class Review(msgspec.Struct, frozen=True, gc=False):
    """One question of the API server.

    `subject` is None when the object is not ours to touch; `untouched` then says why in a word and a sentence.
    `may_change` is false where only the guard judges; `may_annotate` where metadata is mutable. `rollout` is there when
    the object is a revision, which is only pinned.
    """

    uid: str
    resource: str
    operation: str
    namespace: str
    subject: Subject | None
    untouched: str = ""
    may_change: bool = True
    may_annotate: bool = True
    rollout: Rollout | None = None


class _RevisionRequest(msgspec.Struct, rename="camel"):
    object: Stored | None = None
    old_object: Stored | None = None


class _RevisionReview(msgspec.Struct):
    request: _RevisionRequest


_revision = msgspec.json.Decoder(_RevisionReview)
_review = msgspec.json.Decoder(_Review)
_outer = msgspec.json.Decoder(_Outer)
_pod = msgspec.json.Decoder(Pod)
_encode = msgspec.json.Encoder().encode
_NO_METADATA: Final = Metadata()


def decode(body: bytes, milliseconds: int = 0) -> Review:
    """Read a review. `milliseconds` is the wall clock, for the age of pins.

    Raises:
        BadReview: no JSON, no AdmissionReview of v1, or no uid to answer to.
    """
    try:
        review = _review.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as wrong:
        return _unreadable(body, wrong)
    if review.kind != "AdmissionReview" or review.api_version != "admission.k8s.io/v1" or not review.request.uid:
        raise BadReview("not an AdmissionReview of admission.k8s.io/v1 with a request.uid")
    request = review.request
    is_pod = request.resource.resource == "pods"
    if is_pod and request.operation == "CREATE" and len(body) <= MAX_KNOWN and request.object is not None:
        return _known(request, request.object)
    kind = KINDS.get(request.resource.resource)
    if kind is not None and kind.group == request.resource.group and not request.sub_resource:
        return _revision_review(body, request, kind, milliseconds)
    return _review_of(request)


def _revision_review(body: bytes, request: _Request, kind: Kind, milliseconds: int) -> Review:
    """A review of a ReplicaSet, a ControllerRevision or a Job, read once more for its template."""
    uid, resource, operation, namespace = request.uid, kind.resource, request.operation, request.namespace
    try:
        again = _revision.decode(body).request
        found = read_rollout(kind, operation, again.object or Stored(), again.old_object, namespace, milliseconds)
    except (msgspec.MsgspecError, RecursionError):
        return Review(uid, resource, operation, namespace, None, "its template has an unexpected shape")
    if found is None:
        return Review(uid, resource, operation, namespace, None)
    rollout, subject = found
    if len(subject.slots) > MAX_SLOTS:
        return Review(uid, resource, operation, namespace, None, f"it names more than {MAX_SLOTS} images")
    return Review(uid, resource, operation, namespace, subject, rollout=rollout)


def _known(request: _Request, pod: Pod) -> Review:
    """The Pods of one rollout differ in their uid alone: for the rest of them the Subject is there already."""
    metadata = pod.metadata or _NO_METADATA
    same = _created(
        request.resource,
        request.sub_resource,
        request.namespace,
        pod.spec,
        pod.metadata is None,
        metadata.name,
        metadata.generate_name,
        metadata.owner_references,
        tuple(metadata.labels.items()) if metadata.labels else (),
        tuple(metadata.annotations.items()) if metadata.annotations else (),
    )
    return Review(
        request.uid,
        same.resource,
        same.operation,
        same.namespace,
        same.subject,
        same.untouched,
        same.may_change,
        same.may_annotate,
    )


@lru_cache(KNOWN)
def _created(
    resource: _Resource,
    sub_resource: str,
    namespace: str,
    spec: PodSpec | None,
    is_bare: bool,  # noqa: FBT001 - a memo's key has no names
    name: str | None,
    generate_name: str | None,
    owners: tuple[OwnerReference, ...] | None,
    labels: tuple[tuple[str, str], ...],
    annotations: tuple[tuple[str, str], ...],
) -> Review:
    metadata = None if is_bare else Metadata(name, generate_name, None, dict(labels), dict(annotations), owners)
    return _review_of(_Request("", resource, sub_resource, namespace, "CREATE", Pod(metadata, spec)))


def _unreadable(body: bytes, wrong: Exception) -> Review:
    try:
        outer = _outer.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise BadReview("the body is not an AdmissionReview in JSON with a request.uid") from None
    if outer.kind != "AdmissionReview" or outer.api_version != "admission.k8s.io/v1" or not outer.request.uid:
        raise BadReview("not an AdmissionReview of admission.k8s.io/v1 with a request.uid")
    where = str(wrong).rpartition(" - at ")[2].strip("`") if " - at " in str(wrong) else "the object"
    return Review(outer.request.uid, "", "", "", None, f"{where[:80]} has an unexpected shape")


def _review_of(request: _Request) -> Review:
    resource = (
        f"{request.resource.resource}/{request.sub_resource}" if request.sub_resource else request.resource.resource
    )
    uid, operation, namespace = request.uid, request.operation, request.namespace
    pod = request.object
    served = request.resource.group == "" and (resource, operation) in _SERVED
    if not served or pod is None or pod.spec is None:
        return Review(uid, resource, operation, namespace, None)
    subject = subject_of_pod(pod, namespace)
    if MIRROR in subject.annotations:
        return Review(uid, resource, operation, namespace, None)
    if len(subject.slots) > MAX_SLOTS:
        return Review(uid, resource, operation, namespace, None, f"it names more than {MAX_SLOTS} images")
    if operation == "CREATE":
        # Without metadata there is no place for an annotation, and a patch that does not apply rejects the Pod.
        return Review(uid, resource, operation, namespace, subject, may_annotate=pod.metadata is not None)
    try:
        before = _pod.decode(request.old_object) if bytes(request.old_object) != b"null" else Pod()
    except (msgspec.MsgspecError, RecursionError):
        return Review(uid, resource, operation, namespace, None, "request.oldObject has an unexpected shape")
    subject = msgspec.structs.replace(subject, slots=_changed(subject.slots, before))
    return Review(uid, resource, operation, namespace, subject, "", resource == "pods/ephemeralcontainers", False)


_SERVED = frozenset({("pods", "CREATE"), ("pods", "UPDATE"), ("pods/ephemeralcontainers", "UPDATE")})


def _changed(slots: Sequence[Slot], before: Pod) -> tuple[Slot, ...]:
    """The slots whose image is new: touching another would restart its container."""
    old = (
        {(slot.field, slot.container, slot.text) for slot in pod_slots(before.spec)}
        if before.spec is not None
        else set()
    )
    return tuple(slot for slot in slots if (slot.field, slot.container, slot.text) not in old)


def untouched(review: Review, warning: str = "") -> bytes:
    """Allowed, as it is."""
    warnings = [warning] if warning else [f"moorage: left as it is: {review.untouched}"] if review.untouched else []
    return answer_to(review.uid, _rest(b"", warnings, {}, ""))


def encode(review: Review, decisions: Sequence[Decision], sealer: Sealer, milliseconds: int) -> bytes:
    """The answer for these decisions, one for each slot of the review's subject, in order."""
    return answer_to(review.uid, encode_rest(review, decisions, sealer, milliseconds))


def encode_rest(review: Review, decisions: Sequence[Decision], sealer: Sealer, milliseconds: int) -> bytes:
    """The answer but for the uid, the same for every review of an equal subject."""
    refused = [one for one in decisions if one.action is Action.REFUSED]
    warnings = list(dict.fromkeys(filter(None, map(warning_of, decisions))))[:_MAX_WARNINGS]
    if review.rollout is not None:
        warnings += _keel_warnings(review.rollout, decisions)
    if refused:
        return _rest(b"", warnings, _audit(decisions), _refusal(refused))
    operations = _patch_of(review, decisions, sealer, milliseconds, warnings)
    patch = b"[%b]" % b",".join(operations) if operations else b""
    return _rest(patch, warnings, _audit(decisions), "")


def _patch_of(
    review: Review, decisions: Sequence[Decision], sealer: Sealer, milliseconds: int, warnings: list[str]
) -> list[bytes]:
    """The operations of the JSON patch, each encoded (RFC 6902)."""
    subject = review.subject
    if subject is None or not review.may_change:
        return []
    if review.rollout is not None:
        return _pin(review.rollout, decisions, sealer, milliseconds)
    operations = [
        # Pointers are ours, and a canonical reference holds nothing that JSON would escape.
        b'{"op":"replace","path":"%b","value":"%b"}' % (slot.pointer.encode(), one.to.encode())
        for slot, one in zip(subject.slots, decisions, strict=True)
        if one.to and one.to != slot.text
    ]
    if review.may_annotate:
        operations += _annotate(subject, decisions, sealer, milliseconds, warnings)
    return operations


def _pin(rollout: Rollout, decisions: Sequence[Decision], sealer: Sealer, milliseconds: int) -> list[bytes]:
    images = {one.slot.image.tagged: one.digest for one in decisions if _is_pinned(one) and one.slot.image is not None}
    if not images:
        return []
    revision = rollout.revision
    # Behind its creation a pin is known for the object's own by the uid in it.
    uid = "" if rollout.event is Event.CREATED else revision.uid
    key, value = written(images, revision, sealer, milliseconds, uid=uid)
    if revision.annotations:
        return [_encode({"op": "add", "path": f"/metadata/annotations/{key.replace('/', '~1')}", "value": value})]
    return [_encode({"op": "add", "path": "/metadata/annotations", "value": {key: value}})]


def _is_pinned(decision: Decision) -> bool:
    return decision.reason is Reason.PIN_WRITTEN


def _annotate(
    subject: Subject, decisions: Sequence[Decision], sealer: Sealer, milliseconds: int, warnings: list[str]
) -> list[bytes]:
    wanted = entries(decisions)
    present = read(subject.annotations).images if subject.annotations else NOTHING.images
    if not wanted:
        stands = IMAGES in subject.annotations
        return [_encode({"op": "remove", "path": _POINTER_OF_IMAGES})] if stands else []
    if present and say_the_same(wanted, present):
        return []
    text = images_written(wanted, subject, sealer, milliseconds)
    if not fits(subject.annotations, IMAGES, text):
        # The Pod comes first: with one annotation more the API server would refuse it.
        warnings.append(f"moorage: the annotations have no room for {IMAGES}: left out")
        return []
    if subject.annotations:
        return [_encode({"op": "add", "path": _POINTER_OF_IMAGES, "value": text})]
    return [_encode({"op": "add", "path": "/metadata/annotations", "value": {IMAGES: text}})]


_HEAD = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":'


def answer_to(uid: str, rest: bytes) -> bytes:
    """A whole answer from the rest that does not depend on the uid."""
    return b"%b%b%b" % (_HEAD, _encode(uid), rest)


def _rest(patch: bytes, warnings: list[str], audit: dict[str, str], refusal: str) -> bytes:
    response = b',"allowed":%b' % (b"false" if refusal else b"true")
    if patch:
        response += b',"patchType":"JSONPatch","patch":"%b"' % b2a_base64(patch, newline=False)
    if refusal:
        response += b',"status":%b' % _encode({"code": 403, "reason": "Forbidden", "message": refusal})
    if warnings:
        response += b',"warnings":%b' % _encode(warnings)
    if audit:
        response += b',"auditAnnotations":%b' % _encode(audit)
    return response + b"}}"


def _audit(decisions: Iterable[Decision]) -> dict[str, str]:
    """Image and result only: a reinvocation must give the same value, or the API server drops it with a log line."""
    told = {one.slot.text: one.to or one.action.value for one in decisions if one.rule}
    return {"images": _encode(told).decode()} if told else {}


_WARNS = frozenset({Reason.NOT_A_REFERENCE, Reason.NAMED_BY_HAND, Reason.STALE, Reason.TAG_MOVED})


def warning_of(decision: Decision) -> str:
    """What the person who creates the Pod should read; empty when all is well."""
    if decision.reason not in _WARNS and decision.action not in {Action.FAILED, Action.REFUSED}:
        return ""
    slot = decision.slot
    act = "recorded" if decision.action is Action.RECORDED else "written"
    result = f"{act} by its last known digest" if decision.reason is Reason.STALE else "refused"
    if decision.action in {Action.FAILED, Action.UNCHANGED}:
        result = "kept as is"
    said = next((sentence(note) for note in reversed(decision.trace) if note[0] is decision.reason), "")
    text = f"moorage: {slot.container}: {slot.text} {result} ({decision.reason.value})"
    return f"{text}: {said}"[:_MAX_WARNING] if said else text[:_MAX_WARNING]


def _keel_warnings(rollout: Rollout, decisions: Sequence[Decision]) -> list[str]:
    """Keel names one digest for all containers: it differs where none of them has it."""
    noted = [note for one in decisions for note in one.trace if note[0] is Reason.KEEL_DIFFERS]
    if not noted or any(one.digest == rollout.keel for one in decisions):
        return []
    return [f"moorage: {rollout.revision.name}: {sentence(noted[0])}"[:_MAX_WARNING]]


def _refusal(refused: Sequence[Decision]) -> str:
    return "; ".join(
        f"{one.slot.container}: {one.slot.text} refused ({one.reason.value}): {sentence(one.trace[-1])}"
        for one in refused
    )[:1024]


def seconds_allowed(query: str, budget: float) -> float:
    """How long an answer may take: the smaller of the configured budget and `?timeout=`, less what rounding adds.

    A missing or malformed timeout leaves the budget. Source: apiserver's webhook client sends whole seconds (`10s`).
    """
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "timeout" and _DURATION.fullmatch(value):
            asked = sum(float(number) * _UNIT[unit] for number, unit in _UNIT_PART.findall(value))
            return max(0.1, min(budget, asked - ROUNDING))
    return budget
