"""Why: one closed list of words, the same in metrics, logs, warnings, the command line and the docs."""

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """A word for each thing that can be said about an image; MEANING says it to people, SENTENCE to one person."""

    # The digest is known and written.
    RESOLVED = "Resolved"
    STALE = "StaleDigest"
    GIVEN = "DigestGiven"
    LOCKED = "DigestLocked"
    TAG_KEPT = "TagKept"
    # Nothing is done, and nothing had to be.
    NO_RULE = "NoRule"
    NOT_A_REFERENCE = "NotAReference"
    PLACED = "AlreadyPlaced"
    OPTED_OUT = "OptedOut"
    NOT_SERVED = "NotServed"
    RECORDED = "Recorded"
    # A target was passed over.
    OUTSIDE_PERCENT = "OutsidePercent"
    PATH_NOT_SERVED = "PathNotServed"
    ACCESS_NOT_PROVEN = "AccessNotProven"
    NO_PULL_SECRET = "NoPullSecret"  # noqa: S105 - a word, no password
    TARGET_UNHEALTHY = "TargetUnhealthy"
    TARGET_LACKS_DIGEST = "TargetLacksDigest"
    TARGET_NOT_ASKED = "TargetNotAsked"
    # The upstream gave no digest.
    ABSENT = "AbsentOrDenied"
    THROTTLED = "Throttled"
    UNAVAILABLE = "Unavailable"
    OUT_OF_TIME = "OutOfTime"
    BAD_REGISTRY = "BadRegistry"
    BUSY = "Busy"
    LOGIN_REFUSED = "LoginRefused"
    NO_LOGIN = "NoLogin"
    HOST_NOT_LISTED = "HostNotListed"
    ADDRESS_REFUSED = "AddressRefused"
    OFFLINE = "Offline"
    NO_CLUSTER = "NoCluster"
    # Pins of a rollout.
    PIN_WRITTEN = "PinWritten"
    PIN_KEPT = "PinKept"
    TAG_MOVED = "TagMoved"
    KEEL_DIFFERS = "KeelDiffers"
    ANNOTATIONS_FULL = "AnnotationsFull"
    # The guard of targets.
    NAMED_BY_HAND = "NamedByHand"
    # The cluster's own answer.
    DRY_RUN = "DryRun"
    # Ourselves.
    INTERNAL_ERROR = "InternalError"
    # Lines of a trace only.
    RULE_MATCHED = "RuleMatched"
    RULE_PASSED_OVER = "RulePassedOver"
    DIGEST_FOUND = "DigestFound"
    TARGET_TAKEN = "TargetTaken"
    PIN_IGNORED = "PinIgnored"
    HINT_NOT_CONFIRMED = "HintNotConfirmed"
    CLUSTER_NOT_ASKED = "ClusterNotAsked"
    PULL_SECRET_SKIPPED = "PullSecretSkipped"  # noqa: S105 - a word, no password
    PULL_SECRETS_NOT_READ = "PullSecretsNotRead"
    PODS_DISAGREE = "PodsDisagree"
    CHILD_OF_INDEX = "ChildOfIndex"
    NO_POD_SHOWS = "NoPodShows"


Note = tuple[Reason, *tuple[str | int | float, ...]]
"""One line of a trace: a Reason, then the arguments of its sentence."""
Trace = tuple[Note, ...]

MEANING: Final[dict[Reason, str]] = {
    Reason.RESOLVED: "The upstream named the digest (now, from the cache, or on the pin of the rollout) and it was written.",
    Reason.STALE: "The upstream could not be asked; the last digest it gave, within `resolving.stale`, was written.",
    Reason.GIVEN: "The image carries a digest already; it was moved, not resolved.",
    Reason.LOCKED: "The digest stands in the `digests:` file and was not asked for.",
    Reason.TAG_KEPT: "The rule writes tags: the host was changed, nothing was resolved.",
    Reason.NO_RULE: "No rule matches: untouched.",
    Reason.NOT_A_REFERENCE: "The text is no image name that the kubelet would accept: untouched.",
    Reason.PLACED: "The image already is at a target, or is what Moorage wrote before: untouched.",
    Reason.OPTED_OUT: 'The Pod or its namespace carries `moorage.dev/skip: "true"`: untouched, but for the guard.',
    Reason.NOT_SERVED: "The object is of a kind, operation or shape that Moorage leaves alone.",
    Reason.RECORDED: "The rule records only: the digest stands in the annotation, the image is untouched.",
    Reason.OUTSIDE_PERCENT: "The rule's `percent` leaves this workload out: the image is only pinned.",
    Reason.PATH_NOT_SERVED: "The target's `paths` do not cover this path, or the image can have no name there.",
    Reason.ACCESS_NOT_PROVEN: "The target asks no password, and the upstream did not confirm this digest to credentials of this namespace.",
    Reason.NO_PULL_SECRET: "The target is one with `pull: secret`, and no pull secret of the Pod holds a login for it.",
    Reason.TARGET_UNHEALTHY: "The target's health check fails.",
    Reason.TARGET_LACKS_DIGEST: "The target was asked and does not hold the digest.",
    Reason.TARGET_NOT_ASKED: "The target should be asked for the digest, and could not be.",
    Reason.ABSENT: "The upstream says that there is no such image, or not for these credentials.",
    Reason.THROTTLED: "The upstream asks to wait (429).",
    Reason.UNAVAILABLE: "The upstream does not answer, answers 5xx, or its breaker is open.",
    Reason.OUT_OF_TIME: "The answer would have come after the deadline of the admission.",
    Reason.BAD_REGISTRY: "The upstream answers, but not as a registry does: wrong, missing or contradicting digest, wrong type, too large.",
    Reason.BUSY: "Too many requests to this registry are in flight.",
    Reason.LOGIN_REFUSED: "The upstream wants a login at a place that the configuration does not allow.",
    Reason.NO_LOGIN: "The cloud gave no login for this registry and no other credential was accepted, or none is there for this Pod: nothing was sent without one.",
    Reason.HOST_NOT_LISTED: "The configuration does not list this host: nothing was sent.",
    Reason.ADDRESS_REFUSED: "The name leads to an address that must not be contacted: nothing was sent.",
    Reason.OFFLINE: "`--offline`: no registry was asked.",
    Reason.NO_CLUSTER: "No cluster is at hand to ask.",
    Reason.PIN_WRITTEN: "The upstream named the digest, and it was written on the revision for all its Pods.",
    Reason.PIN_KEPT: "The revision has this pin already.",
    Reason.TAG_MOVED: "The revision came back (undo, or a template that was there before) and keeps its digest; the tag names another now.",
    Reason.KEEL_DIFFERS: "`keel.sh/digest` on the workload names another digest than the upstream, which was asked twice.",
    Reason.ANNOTATIONS_FULL: "The object's annotations are nearly as large as the API server allows: nothing was added.",
    Reason.NAMED_BY_HAND: "A target is named by hand, and it is not what Moorage would have written.",
    Reason.DRY_RUN: "What the API server answers to `check --server`; Moorage's own reason is known only where its annotation or a warning tells it.",
    Reason.INTERNAL_ERROR: "A fault in Moorage: untouched; the id leads to the log.",
    Reason.RULE_MATCHED: "The rule that decides.",
    Reason.RULE_PASSED_OVER: "A rule that does not match, and which of its keys says so.",
    Reason.DIGEST_FOUND: "The digest, where it came from, with which kind of credential, and how long it took.",
    Reason.TARGET_TAKEN: "The target that the image was sent to.",
    Reason.PIN_IGNORED: "A pin that was not made for this rollout, or cannot be read.",
    Reason.HINT_NOT_CONFIRMED: "A digest that nobody vouches for, and that the upstream did not confirm to this Pod's credentials.",
    Reason.CLUSTER_NOT_ASKED: "The API server could not be asked for the pin of the rollout, or for its siblings.",
    Reason.PULL_SECRET_SKIPPED: "A pull secret is not there, is none, or holds something that cannot be used: the others count.",
    Reason.PULL_SECRETS_NOT_READ: "Pull secrets, or the service account that names them, could not be read at the API server.",
    Reason.PODS_DISAGREE: "Pods of one revision run different digests: `adopt` chooses none of them unless told to.",
    Reason.CHILD_OF_INDEX: "The digest is of one platform, and the tag names an index: `adopt` never pins to it.",
    Reason.NO_POD_SHOWS: "No Pod of the revision shows which digest the tag named for it, and what runs is not what it names now: `adopt` does not guess.",
}

UNRESOLVED: Final = (
    Reason.THROTTLED,
    Reason.UNAVAILABLE,
    Reason.OUT_OF_TIME,
    Reason.BAD_REGISTRY,
    Reason.BUSY,
    Reason.LOGIN_REFUSED,
    Reason.NO_LOGIN,
    Reason.HOST_NOT_LISTED,
    Reason.ADDRESS_REFUSED,
)
"""An upstream was to be asked and gave no usable answer. Their sentence says so: a Pod's author who reads only "timed
out" looks for the fault in the kubelet's pull (knative/serving#5410)."""

SENTENCE: Final[dict[Reason, str]] = {
    Reason.RULE_MATCHED: "rule {0} matches",
    Reason.RULE_PASSED_OVER: "rule {0} passed over: {1} does not match",
    Reason.DIGEST_FOUND: "{0} is {1}: {2} from {3}, credential {4}, {5:.0f} ms",
    Reason.STALE: "digest resolution: {0} could not be asked ({1}); its answer of {2:.0f} s ago is used",
    Reason.GIVEN: "the digest stands in the image",
    Reason.LOCKED: "{0} is locked to {1}",
    Reason.TAG_KEPT: "the rule writes tags; nothing is resolved",
    Reason.TARGET_TAKEN: "target {0} taken",
    Reason.NO_RULE: "no rule matches {0}",
    Reason.NOT_A_REFERENCE: "no image name: {0}",
    Reason.PLACED: "already at target {0}",
    Reason.OUTSIDE_PERCENT: "workload {0} is outside the {1} % that are rewritten: only pinned",
    Reason.PATH_NOT_SERVED: "target {0} passed over: it does not serve {1}",
    Reason.ACCESS_NOT_PROVEN: "target {0} passed over: it asks no password and the upstream did not confirm the digest ({1})",
    Reason.NO_PULL_SECRET: "target {0} passed over: no pull secret of the Pod holds a login for it",
    Reason.TARGET_UNHEALTHY: "target {0} passed over: not healthy",
    Reason.TARGET_LACKS_DIGEST: "target {0} passed over: it does not hold the digest",
    Reason.TARGET_NOT_ASKED: "target {0} passed over: it could not be asked ({1})",
    Reason.ABSENT: "digest resolution: {0} not found, or not for these credentials",
    **dict.fromkeys(UNRESOLVED, "digest resolution at {0}: {1}"),
    Reason.PIN_WRITTEN: "{0} is pinned to {1} for this rollout",
    Reason.PIN_KEPT: "{0} stays pinned to {1}",
    Reason.TAG_MOVED: "{0} stays pinned to {1}; the tag names {2} now",
    Reason.KEEL_DIFFERS: "keel.sh/digest names {0}, the upstream {1}",
    Reason.ANNOTATIONS_FULL: "its annotations have no room for {0}",
    Reason.PIN_IGNORED: "pin {0} ignored: {1}",
    Reason.HINT_NOT_CONFIRMED: "{0} by {1} is no more than a hint, and the upstream did not confirm it ({2})",
    Reason.CLUSTER_NOT_ASKED: "{0} could not be read: {1}",
    Reason.PULL_SECRET_SKIPPED: "pull secret {0}: {1}",
    Reason.PULL_SECRETS_NOT_READ: "pull secrets in namespace {0} are not read: {1}",
    Reason.PODS_DISAGREE: "{0} runs in {1} Pods",
    Reason.CHILD_OF_INDEX: "{0} is one platform of what the tag names",
    Reason.NO_POD_SHOWS: "none of {0} Pods shows what the tag named for them, or runs {1}, which it names now",
    Reason.NAMED_BY_HAND: "target {0} is named by hand ({1})",
    Reason.DRY_RUN: "the API server says: {0}",
}
"""Arguments are positional. A Reason without a row prints its arguments after its word."""


def sentence(note: Note) -> str:
    """One line of a trace as people read it."""
    reason, *arguments = note
    form = SENTENCE.get(reason)
    if form is not None:
        return form.format(*arguments)
    return f"{reason}: {', '.join(str(argument) for argument in arguments)}" if arguments else str(reason)
