"""A template as a Pod, and what the API server's answer to it says. The answers are made by our own admission, so that
what it writes and what is read here cannot part."""

import base64
import json
from typing import Any

import jsonpatch
import msgspec
import pytest

from tests.core.world import KRAKEN, NOON, PRIVATE, SEALER, Answer, D, decide, known, pod, subject
from webhook.core.admission import decode, encode, warnings_of
from webhook.core.annotation import Entry, written
from webhook.core.ask import Absent, Failed
from webhook.core.decision import Action, Decision, Source
from webhook.core.dryrun import Verdict, admitted, pod_of, refused, verdict
from webhook.core.plan import plan
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.core.subject import Owner

APP = "registry.example.com/team/app:stable"
SIDE = "nginx:1"


def replace(rule: Rule, **change: Any) -> Rule:
    return msgspec.structs.replace(rule, **change)


def sent(*images: str) -> dict[str, Any]:
    made = pod(*images)
    return pod_of(made, subject(made))


def answered(rule: Rule, *images: str, **answers: Answer) -> tuple[bytes, list[str], str, list[Decision]]:
    """What comes back for a Pod with these images: the object, warnings, a refusal, and what was decided."""
    made = sent(*images)
    request = {
        "uid": "u", "resource": {"resource": "pods", "version": "v1"}, "operation": "CREATE", "namespace": "default",
        "object": made,
    }  # fmt: skip
    body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()
    review = decode(body)
    assert review.subject is not None
    steps = plan(review.subject, RuleSet([rule], targets=[KRAKEN]), sealer=SEALER, milliseconds=NOON)
    decisions = [decide(step, **answers)[0] for step in steps]
    response = json.loads(encode(review, decisions, SEALER, NOON))["response"]
    patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
    back = json.dumps(jsonpatch.apply_patch(made, patch)).encode()
    refusal = response.get("status", {}).get("message", "")
    return back, response.get("warnings", []), refusal, decisions


DOWN = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "connection refused")
RULES = [
    ("rewritten", PRIVATE, {"digest": known()}),
    ("pinned", replace(PRIVATE, targets=()), {"digest": known()}),
    ("recorded", replace(PRIVATE, write="record"), {"digest": known()}),
    ("stale", PRIVATE, {"digest": known(source="stale", trouble=Reason.UNAVAILABLE, age=60.0)}),
    ("tag kept", replace(PRIVATE, write="tag"), {}),
    ("not found", PRIVATE, {"digest": Absent("registry.example.com", "x")}),
    ("down", PRIVATE, {"digest": DOWN}),
]


@pytest.mark.parametrize(("rule", "answers"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_what_admission_decided_is_read_back_from_its_answer(rule: Rule, answers: dict[str, Answer]) -> None:
    back, warnings, _, (decided, _) = answered(rule, APP, SIDE, **answers)
    app, side = admitted(subject(pod(APP, SIDE)), back, warnings)
    assert (app.action, app.reason, app.to, app.digest, app.source, app.target, app.rule) == (
        decided.action,
        decided.reason,
        decided.to,
        decided.digest,
        decided.source,
        decided.target,
        # What was not resolved stands in no annotation, and a warning does not name the rule.
        decided.rule if decided.action is not Action.FAILED else "",
    )
    assert (side.action, side.reason, side.to) == (Action.UNCHANGED, Reason.DRY_RUN, "")


def test_a_name_written_by_hand_is_warned_about_and_stays() -> None:
    made = pod("localhost:30081/team/app:1")
    back, warnings, _, _ = answered(PRIVATE, "localhost:30081/team/app:1")
    (one,) = admitted(subject(made), back, warnings)
    assert (one.action, one.reason) == (Action.UNCHANGED, Reason.NAMED_BY_HAND)


def test_a_warning_about_another_container_says_nothing_about_this_one() -> None:
    made = pod(APP, APP)
    (first, _) = subject(made).slots
    warnings = warnings_of([Decision(first, Action.FAILED, Reason.ABSENT)])
    one, other = admitted(subject(made), json.dumps(sent(APP, APP)).encode(), warnings)
    assert (one.action, one.reason) == (Action.FAILED, Reason.ABSENT)
    assert (other.action, other.reason) == (Action.UNCHANGED, Reason.DRY_RUN)


def test_containers_that_others_put_before_ours_are_not_taken_for_them() -> None:
    back, _, _, _ = answered(PRIVATE, APP, digest=known())
    injected = json.loads(back)
    injected["spec"]["containers"].insert(0, {"name": "istio-proxy", "image": "istio/proxyv2:1"})
    (one,) = admitted(subject(pod(APP)), json.dumps(injected).encode(), [])
    assert (one.to, one.slot.pointer) == (f"localhost:30081/team/app@{D}", "/spec/containers/0/image")


def test_what_another_webhook_changed_is_shown_as_changed() -> None:
    back = json.dumps(sent("mirror.example.com/nginx:1")).encode()
    (one,) = admitted(subject(pod(SIDE)), back, [])
    assert (one.action, one.reason, one.to) == (Action.REWRITTEN, Reason.DRY_RUN, "mirror.example.com/nginx:1")
    assert one.source is Source.NONE


def test_a_pod_that_moorage_has_changed_before_shows_what_its_author_asked_for() -> None:
    target = f"localhost:30081/team/app@{D}"
    made = pod(target)
    entry = Entry(APP, D, "kraken", "private", "pin")
    made["metadata"]["annotations"] = {
        "moorage.dev/images": written({"containers/c0": entry}, subject(made), SEALER, NOON)
    }
    back = json.dumps(pod_of(made, subject(made))).encode()
    (one,) = admitted(subject(made), back, [])
    assert (one.slot.text, one.to, one.source) == (APP, target, Source.PIN)


def test_a_refusal_by_moorage_names_the_image_and_why() -> None:
    rule = replace(PRIVATE, on_failure="refuse")
    _, _, refusal, _ = answered(rule, APP, SIDE, digest=DOWN)
    said = f'admission webhook "pods.moorage.dev" denied the request: {refusal}'
    app, side = refused(subject(pod(APP, SIDE)), said)
    assert (app.action, app.reason) == (Action.REFUSED, Reason.UNAVAILABLE)
    assert (side.action, side.reason) == (Action.UNCHANGED, Reason.DRY_RUN)
    assert app.trace == ((Reason.DRY_RUN, said),)


def test_a_refusal_by_somebody_else_is_of_the_whole_pod() -> None:
    said = 'pods "web-" is forbidden: violates PodSecurity "restricted:latest"'
    decisions = refused(subject(pod(APP, SIDE)), said)
    assert [(one.action, one.reason) for one in decisions] == [(Action.REFUSED, Reason.DRY_RUN)] * 2


VERDICTS = [
    (201, "", Verdict.ADMITTED),
    # apiserver, admission.NewForbidden; a webhook's denial
    (403, 'pods "web-" is forbidden: exceeded quota: compute', Verdict.REFUSED),
    (403, 'admission webhook "a.b" denied the request: no', Verdict.REFUSED),
    # A webhook that gives no code denies with 400.
    (400, 'admission webhook "a.b" denied the request: no', Verdict.REFUSED),
    (422, 'Pod "web-" is invalid: spec.containers: Required value', Verdict.REFUSED),
    # apiserver, responsewriters.ForbiddenStatusError
    (403, 'pods is forbidden: User "x" cannot create resource "pods" in API group "" in the namespace "shop"', Verdict.UNASKED),
    (400, 'admission webhook "a.b" does not support dry run', Verdict.UNASKED),
    (404, 'namespaces "nosuch" not found', Verdict.NO_NAMESPACE),
    # apiserver, plugin/namespace/lifecycle
    (403, 'pods "web-" is forbidden: unable to create new content in namespace shop because it is being terminated', Verdict.NO_NAMESPACE),
    (403, 'admission webhook "a.b" denied the request: because it is being terminated', Verdict.REFUSED),
    (401, "Unauthorized", Verdict.UNASKED),
    (429, "too many requests", Verdict.UNASKED),
    (500, 'Internal error occurred: failed calling webhook "a.b"', Verdict.UNASKED),
    (0, "the API server did not answer in time", Verdict.UNASKED),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said", "expected"), VERDICTS, ids=[f"{row[0]} {row[1][:20]}" for row in VERDICTS])
def test_what_a_status_means(status: int, said: str, expected: Verdict) -> None:
    assert verdict(status, said) is expected


def test_a_template_becomes_the_pod_that_a_controller_would_make() -> None:
    made = pod(APP)
    made["spec"] |= {"nodeName": "n1", "ephemeralContainers": [{"name": "e", "image": "x"}], "restartPolicy": "Never"}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": True}
    of_owner = msgspec.structs.replace(
        subject(made, "shop"), labels={"app": "web"}, owner=Owner("ReplicaSet", "web-1", "u")
    )
    assert pod_of(made, of_owner, [{**owner, "blockOwnerDeletion": True}]) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-1-",
            "namespace": "shop",
            "labels": {"app": "web"},
            "annotations": {},
            "ownerReferences": [owner],
        },
        "spec": {"containers": made["spec"]["containers"], "restartPolicy": "Never"},
    }


@pytest.mark.parametrize(("name", "generated"), [("web", "web-"), ("web-", "web-"), ("", "moorage-")])
def test_a_pod_without_owner_is_named_after_its_template(name: str, generated: str) -> None:
    of_name = msgspec.structs.replace(subject(pod(APP)), name=name)
    assert pod_of({}, of_name)["metadata"]["generateName"] == generated


def test_an_answer_that_is_no_pod_is_none() -> None:
    with pytest.raises(msgspec.MsgspecError):
        admitted(subject(pod(APP)), b"<html>", [])
