"""AdmissionReview bytes to a Review, decisions to answer bytes: the contract of admission.k8s.io/v1.

The API server rejects a Pod, even under failurePolicy Ignore, when a patch decodes but does not apply. So operations
are `replace` on image paths that were seen in this very object, and `add` or `remove` for our one annotation.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from webhook.core.annotation import IMAGES, NOTHING, entries, read, say_the_same
from webhook.core.annotation import written as images_written
from webhook.core.broken import UNREADABLE
from webhook.core.decision import Action, Decision
from webhook.core.memo import Memo
from webhook.core.pins import fits, written
from webhook.core.reason import UNRESOLVED, Note, Reason, sentence
from webhook.core.revision import KINDS, Kind
from webhook.core.rollout import Event, Rollout, Stored
from webhook.core.rollout import read as read_rollout
from webhook.core.seal import Sealer
from webhook.core.subject import Metadata, Pod, Slot, Subject, pod_slots, subject_of_pod

MAX_BODY: Final = 7 * 1024 * 1024
"""Bytes: etcd's 3 MiB for the object, twice for the old one, and room (controller-runtime has the same cap)."""
MAX_SLOTS: Final = 256
MAX_NAME: Final = 253
"""Characters of a namespace or a container's name: the API server refuses longer ones, but only after us."""
OTHER: Final = "other"
"""The resource of every review that is not for us; callers can send any word, and metrics must stay few."""
MIRROR: Final = "kubernetes.io/config.mirror"
ROUNDING: Final = 0.5
"""Seconds off `?timeout=`: the API server rounds what is left up to whole seconds."""

MAX_KNOWN: Final = 32 * 1024
"""Bytes of a review that is worth remembering."""
KNOWN: Final = 4 * 1024 * 1024
"""Bytes of all reviews that are remembered. The worst ones take 13 times their bytes in memory (measured)."""
_LEAST_SIZE = 2048
"""Bytes that remembering the smallest review takes all the same."""

_MAX_WARNINGS = 10
_MAX_WARNING = 240
_POINTER_OF_IMAGES = "/metadata/annotations/" + IMAGES.replace("/", "~1")
# Go's time.ParseDuration, and a bare number of seconds. Each part ends with its unit, so that there is one way only to
# read a text: whoever reaches the port can send one.
_DURATION = re.compile(r"(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|ms|s|m|h))+|[0-9]+(?:\.[0-9]+)?", re.ASCII)
_PART = re.compile(r"([0-9.]+)([a-z]*)", re.ASCII)
_UNIT = {"ns": 1e-9, "us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_MAX_DURATION = 32


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
    the object is a revision, which is only pinned. `size` in bytes is what it weighs in memory, 0 when it is not worth
    remembering. `is_crowded` where it names more images than are looked at, and some of them for the first time.
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
    size: int = 0
    is_crowded: bool = False


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
    except UNREADABLE as wrong:
        return _unreadable(body, wrong)
    if review.kind != "AdmissionReview" or review.api_version != "admission.k8s.io/v1" or not review.request.uid:
        raise BadReview("not an AdmissionReview of admission.k8s.io/v1 with a request.uid")
    request = review.request
    is_pod = request.resource.resource == "pods"
    if is_pod and request.operation == "CREATE" and len(body) <= MAX_KNOWN and request.object is not None:
        return _again(request, request.object, len(body))
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
    except UNREADABLE:
        return Review(uid, resource, operation, namespace, None, "its template has an unexpected shape")
    if found is None:
        return Review(uid, resource, operation, namespace, None)
    rollout, subject = found
    if len(subject.slots) > MAX_SLOTS:
        return Review(uid, resource, operation, namespace, None, _CROWDED)
    return Review(uid, resource, operation, namespace, subject, rollout=rollout)


_known: Final[Memo[object, Review]] = Memo(KNOWN)


def _again(request: _Request, pod: Pod, size: int) -> Review:
    """The Pods of one rollout differ in their uid alone: for the rest of them the Subject is there already.

    What a review of a Pod's creation is made of is the key; its `size` in bytes is what remembering it weighs.
    """
    metadata = pod.metadata or _NO_METADATA
    key = (
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
    same = _known.get(key)
    if same is None:
        same = msgspec.structs.replace(_review_of(request), size=size + _LEAST_SIZE)
        _known.keep(key, same, same.size)
        return same
    return Review(
        request.uid,
        same.resource,
        same.operation,
        same.namespace,
        same.subject,
        same.untouched,
        same.may_change,
        same.may_annotate,
        size=same.size,
        is_crowded=same.is_crowded,
    )


def decode_envelope(body: bytes, why: str = "") -> Review:
    """As much of a review as it takes to answer it, for one that shall be left as it is; `why` is told to its author.

    Raises:
        BadReview: no JSON, no AdmissionReview of v1, or no uid to answer to.
    """
    try:
        outer = _outer.decode(body)
    except UNREADABLE:
        raise BadReview("the body is not an AdmissionReview in JSON with a request.uid") from None
    if outer.kind != "AdmissionReview" or outer.api_version != "admission.k8s.io/v1" or not outer.request.uid:
        raise BadReview("not an AdmissionReview of admission.k8s.io/v1 with a request.uid")
    return Review(outer.request.uid, OTHER, "", "", None, why)


def _unreadable(body: bytes, wrong: Exception) -> Review:
    where = str(wrong).rpartition(" - at ")[2].strip("`") if " - at " in str(wrong) else "the object"
    return decode_envelope(body, f"{where[:80]} has an unexpected shape")


def _review_of(request: _Request) -> Review:
    resource = (
        f"{request.resource.resource}/{request.sub_resource}" if request.sub_resource else request.resource.resource
    )
    uid, operation, namespace = request.uid, request.operation, request.namespace
    pod = request.object
    if request.resource.group != "" or resource not in _RESOURCES:
        return Review(uid, OTHER, operation, namespace, None)
    if (resource, operation) not in _SERVED or pod is None or pod.spec is None:
        return Review(uid, resource, operation, namespace, None)
    subject = subject_of_pod(pod, namespace)
    if MIRROR in subject.annotations:
        return Review(uid, resource, operation, namespace, None)
    if len(subject.slots) > MAX_SLOTS:
        # An update of a Pod adds none, and may be the one that lets it end.
        is_new = (resource, operation) != ("pods", "UPDATE")
        return Review(uid, resource, operation, namespace, None, _CROWDED, is_crowded=is_new)
    if len(namespace) > MAX_NAME or any(len(slot.container) > MAX_NAME for slot in subject.slots):
        return Review(uid, resource, operation, "", None, f"a name in it has more than {MAX_NAME} characters")
    if operation == "CREATE":
        # Without metadata there is no place for an annotation, and a patch that does not apply rejects the Pod.
        return Review(uid, resource, operation, namespace, subject, may_annotate=pod.metadata is not None)
    try:
        before = _pod.decode(request.old_object) if bytes(request.old_object) != b"null" else Pod()
    except UNREADABLE:
        return Review(uid, resource, operation, namespace, None, "request.oldObject has an unexpected shape")
    changed = _changed(subject.slots, before)
    if resource == "pods":
        return Review(uid, resource, operation, namespace, msgspec.structs.replace(subject, slots=changed), "", False)
    # A patch of anything else would be thrown away there, or would refuse the request.
    changed = tuple(slot for slot in changed if slot.field == "ephemeralContainers")
    return Review(
        uid, resource, operation, namespace, msgspec.structs.replace(subject, slots=changed), may_annotate=False
    )


_CROWDED: Final = f"it names more than {MAX_SLOTS} images"
_SERVED = frozenset({("pods", "CREATE"), ("pods", "UPDATE"), ("pods/ephemeralcontainers", "UPDATE")})
_RESOURCES = frozenset({resource for resource, _ in _SERVED})


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


def crowded_out(review: Review) -> bytes:
    """Refused: behind so many images one would pass that the configuration refuses."""
    refusal = f"moorage: {review.untouched}, and where some are refused all have to be seen"
    return answer_to(review.uid, _rest(b"", [], {}, refusal))


def fault_warning(identity: str) -> str:
    """What is told of a fault of ours, with the id that leads to its log line."""
    return f"moorage: internal error {identity}: admitted unchanged; the log has the same id"


def encode(review: Review, decisions: Sequence[Decision], sealer: Sealer, milliseconds: int) -> bytes:
    """The answer for these decisions, one for each slot of the review's subject, in order."""
    return answer_to(review.uid, encode_rest(review, decisions, sealer, milliseconds))


def encode_rest(review: Review, decisions: Sequence[Decision], sealer: Sealer, milliseconds: int) -> bytes:
    """The answer but for the uid, the same for every review of an equal subject."""
    refused = [one for one in decisions if one.action is Action.REFUSED]
    warnings = warnings_of(decisions)
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
    """Image and result only: a reinvocation must give the same value, or the API server drops it with a log line.

    So what is in its place already is not told again: without an annotation nobody knows what it was before.
    """
    told = {
        one.slot.text: one.to or one.action.value for one in decisions if one.rule and one.reason is not Reason.PLACED
    }
    return {"images": _encode(told).decode()} if told else {}


_WARNS = frozenset({Reason.NOT_A_REFERENCE, Reason.NAMED_BY_HAND, Reason.STALE, Reason.TAG_MOVED})


def warnings_of(decisions: Iterable[Decision]) -> list[str]:
    """What the person who creates the Pod should read. The API server cuts when all of it passes 4,096 characters."""
    every = list(dict.fromkeys(filter(None, map(warning_of, decisions))))
    if len(every) > _MAX_WARNINGS:
        every[_MAX_WARNINGS - 1 :] = [f"moorage: {len(every) - _MAX_WARNINGS + 1} more images; the log names them all"]
    return every


_OF_SECRETS: Final = frozenset({Reason.PULL_SECRET_SKIPPED, Reason.PULL_SECRETS_NOT_READ})


def warning_of(decision: Decision) -> str:
    """One sentence about one image, in 120 characters where its name leaves room; empty when all is well."""
    if decision.reason not in _WARNS and decision.action not in {Action.FAILED, Action.REFUSED}:
        return ""
    slot = decision.slot
    act = "recorded" if decision.action is Action.RECORDED else "written"
    result = f"{act} by its last known digest" if decision.reason is Reason.STALE else "refused"
    if decision.action in {Action.FAILED, Action.UNCHANGED}:
        result = "kept as is, not resolved" if decision.action is Action.FAILED else "kept as is"
    text = f"moorage: {slot.container}: {slot.text} {result} ({decision.reason.value})"
    note = next((note for note in reversed(decision.trace) if note[0] is decision.reason), None)
    said = _detail(note, decision) if note is not None else ""
    if decision.reason is Reason.ABSENT:
        # Most likely that is why: the kubelet tells the Pod's author of a secret that is not there, too.
        said = "; ".join([said, *(sentence(note) for note in decision.trace if note[0] in _OF_SECRETS)])
    whole = f"{text}: {said}"[:_MAX_WARNING] if said else text[:_MAX_WARNING]
    # The API server throws a warning away that holds what cannot stand in a header.
    return whole if whole.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in whole)


def _detail(note: Note, decision: Decision) -> str:
    """What a note says beyond the reason and the name that the warning holds already."""
    match note:
        case (Reason.NOT_A_REFERENCE, why):
            return str(why)
        case (Reason.NAMED_BY_HAND, target, why):
            return f"target {target}: {why}"
        case (Reason.ABSENT, _):
            return "not found, or not yours"
        case (reason, _, detail) if reason in UNRESOLVED:
            return str(detail)
        case _:
            said = sentence(note).removeprefix(f"{note[0]}: ")
    image = decision.slot.image
    for name in (str(image), image.repository) if image is not None else ():
        if said.startswith(name):
            return said.removeprefix(name).lstrip(":, ")
    return said


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
        if name == "timeout" and len(value) <= _MAX_DURATION and _DURATION.fullmatch(value):
            asked = sum(float(number) * _UNIT[unit] for number, unit in _PART.findall(value))
            return max(0.1, min(budget, asked - ROUNDING))
    return budget
