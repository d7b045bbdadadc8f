"""A template as a Pod in a server-side dry run: what is sent, and what the cluster's answer says of each image."""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import msgspec

from webhook.core.annotation import Entry, key_of, read, source_of
from webhook.core.decision import Action, Decision, Source
from webhook.core.reason import Reason
from webhook.core.reference import Reference, parsed
from webhook.core.subject import Pod, Slot, Subject, pod_slots

_NOT_OF_A_NEW_POD: Final = frozenset({"ephemeralContainers", "nodeName"})
"""Fields of a running Pod's spec that are written after its creation."""
_RIGHTS: Final = re.compile(r"pods is forbidden: User ")
"""How the API server refuses a user (apiserver, responsewriters.ForbiddenStatusError); admission names the Pod."""
_ENDING: Final = re.compile(
    r'pods "[^"]*" is forbidden: unable to create new content in namespace \S+ because it is being '
)
"""How it refuses whatever is made in a namespace that is being deleted (apiserver, plugin/namespace/lifecycle)."""
_NO_DRY_RUN: Final = "does not support dry run"
_REASONS: Final = {reason.value: reason for reason in Reason}
_OF_SOURCE: Final = {Source.STALE: Reason.STALE, Source.GIVEN: Reason.GIVEN, Source.LOCKED: Reason.LOCKED}


class Verdict(Enum):
    """What became of a Pod that was sent."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    NO_NAMESPACE = "no namespace"
    """There is none, or it is being deleted."""
    UNASKED = "unasked"


def pod_of(template: Mapping[str, Any], subject: Subject, owners: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The Pod that a controller would make of a template. `owners` are its ownerReferences."""
    spec = template.get("spec")
    fields = spec.items() if isinstance(spec, Mapping) else ()
    base = subject.owner.name if subject.owner is not None and owners else subject.name
    metadata: dict[str, Any] = {
        "generateName": f"{base.rstrip('-') or 'moorage'}-",
        "namespace": subject.namespace,
        "labels": dict(subject.labels),
        "annotations": dict(subject.annotations),
    }
    if owners:
        # Whoever may create a Pod need not be allowed to block the deletion of its owner.
        metadata["ownerReferences"] = [
            {key: value for key, value in one.items() if key != "blockOwnerDeletion"} for one in owners
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {key: value for key, value in fields if key not in _NOT_OF_A_NEW_POD},
    }


def verdict(status: int, message: str) -> Verdict:
    """What a status says; `message` is the API server's."""
    if 200 <= status <= 299:
        return Verdict.ADMITTED
    if status == 404 or (status == 403 and _ENDING.match(message)):
        return Verdict.NO_NAMESPACE
    if _NO_DRY_RUN in message or (status == 403 and _RIGHTS.match(message)):
        return Verdict.UNASKED
    return Verdict.REFUSED if status in {400, 403, 422} else Verdict.UNASKED


def admitted(subject: Subject, body: bytes, warnings: Iterable[str]) -> tuple[Decision, ...]:
    """What came back, one decision a slot. Other webhooks may have put containers before ours, so names count.

    Raises:
        msgspec.MsgspecError: the body is no Pod.
    """
    pod = _pod.decode(body)
    texts = {key_of(slot): slot.text for slot in pod_slots(pod.spec)} if pod.spec is not None else {}
    annotations = (pod.metadata.annotations if pod.metadata is not None else None) or {}
    entries = read(annotations).images
    said = list(warnings)
    return tuple(
        _admitted(slot, texts.get(key_of(slot), slot.text), entries.get(key_of(slot)), said) for slot in subject.slots
    )


def refused(subject: Subject, message: str) -> tuple[Decision, ...]:
    """A Pod that was refused: by Moorage, which names images, or by somebody else."""
    named = {(found[1], found[2]): found[3] for found in _REFUSED.finditer(message)}
    note = (Reason.DRY_RUN, message)
    if not any(word in _REASONS for word in named.values()):
        return tuple(Decision(slot, Action.REFUSED, Reason.DRY_RUN, trace=(note,)) for slot in subject.slots)
    decisions: list[Decision] = []
    for slot in subject.slots:
        reason = _REASONS.get(named.get((slot.container, slot.text), ""))
        action = Action.UNCHANGED if reason is None else Action.REFUSED
        decisions.append(Decision(slot, action, reason or Reason.DRY_RUN, trace=(note,)))
    return tuple(decisions)


_pod: Final = msgspec.json.Decoder(Pod)
_REFUSED: Final = re.compile(r"(\S+): (\S+) refused \((\w+)\)")
_KEPT: Final = re.compile(r"moorage: (\S+): (.+) kept as is(, not resolved)? \((\w+)\)", re.DOTALL)
"""What `admission.warning_of` says of an image that stays."""


def _admitted(slot: Slot, now: str, entry: Entry | None, warnings: Iterable[str]) -> Decision:
    if entry is not None:
        return _by_moorage(slot, now, entry)
    if now != slot.text:
        return Decision(slot, Action.REWRITTEN, Reason.DRY_RUN, to=now, trace=((Reason.DRY_RUN, f"it becomes {now}"),))
    found = (_kept(slot, one) for one in warnings)
    action, reason = next((one for one in found if one is not None), (Action.UNCHANGED, Reason.DRY_RUN))
    return Decision(slot, action, reason, trace=((Reason.DRY_RUN, "it stays as it is"),))


def _by_moorage(slot: Slot, now: str, entry: Entry) -> Decision:
    """What our own annotation says of an image, beside what stands there."""
    asked = parsed(entry.from_)
    original = msgspec.structs.replace(slot, text=entry.from_, image=asked if isinstance(asked, Reference) else None)
    source = source_of(entry)
    action = Action.REWRITTEN if entry.target else Action.RECORDED if now == entry.from_ else Action.PINNED
    reason = Reason.RECORDED if action is Action.RECORDED else Reason.RESOLVED if entry.digest else Reason.TAG_KEPT
    return Decision(
        original,
        action,
        _OF_SOURCE.get(source, reason),
        entry.rule,
        entry.target,
        "" if action is Action.RECORDED else now,
        entry.digest,
        source,
        entry.arm,
        ((Reason.DRY_RUN, f"it becomes {now}"),),
        entry.at,
    )


def _kept(slot: Slot, warning: str) -> tuple[Action, Reason] | None:
    """Why Moorage left an image as it is, where a warning says so."""
    found = _KEPT.match(warning)
    if found is None or (found[1], found[2]) != (slot.container, slot.text) or found[4] not in _REASONS:
        return None
    return Action.FAILED if found[3] else Action.UNCHANGED, _REASONS[found[4]]
