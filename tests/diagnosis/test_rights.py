"""What accounts of ours are asked about is what their roles give them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.manifests import container, installed, kustomization, objects, of_kind, rendered
from webhook.core.registration import NAME
from webhook.diagnosis.finding import Level, Unseen
from webhook.diagnosis.rights import ADOPT, OF_PERSON, WANTED, Right, judge, judge_person, wanted


def gives(kind: str, rule: Mapping[str, Any], right: Right) -> bool:
    """Whether a rule of a role of this kind gives a right; a Role gives it in its namespace alone."""
    names = rule.get("resourceNames", [])
    return (
        right.verb in rule["verbs"]
        and right.group in rule["apiGroups"]
        and right.resource in rule["resources"]
        and (kind == "ClusterRole" or bool(right.namespace))
        and (right.name in names if names else right.verb == "create" or not right.name)
    )


@pytest.mark.parametrize(
    ("account", "right"), [(name, right) for name, every in WANTED.items() for right in every], ids=str
)
def test_the_shipped_roles_give_what_is_used(account: str, right: Right) -> None:
    roles = [
        one for one in installed() if one["kind"] in {"ClusterRole", "Role"} and one["metadata"]["name"] == account
    ]
    assert [one for one in roles if any(gives(one["kind"], rule, right) for rule in one["rules"])]


def test_who_gets_his_certificate_as_a_file_is_asked_about_no_secret_and_has_no_right_to_one(tmp_path: Path) -> None:
    every = objects(rendered(kustomization(tmp_path, "cert-manager")))
    used = wanted(NAME, container(of_kind(every, "Deployment"))["args"])
    assert {right.resource for right in WANTED[NAME]} - {right.resource for right in used} == {"leases", "secrets"}
    given = [(kind, rule) for kind in ("ClusterRole", "Role") for rule in of_kind(every, kind)["rules"]]
    assert [right for right in WANTED[NAME] if any(gives(kind, rule, right) for kind, rule in given)] == list(used)


@pytest.mark.parametrize("words", [(), ("serve", "--tls-secret=moorage-certs"), ("serve", "--tls-secret", "certs")])
def test_else_the_server_is_asked_about_all(words: tuple[str, ...]) -> None:
    assert wanted(NAME, words) == WANTED[NAME]


def test_what_is_missing_is_told_right_by_right() -> None:
    every = WANTED[ADOPT]
    found = list(judge(ADOPT, {right: right.verb != "create" for right in every}))
    assert [one.level for one in found] == [Level.ERROR] * 2
    assert found[0].found == "it may not create events: nobody is told of pins that are gone"
    assert found[1].found == "it may not create leases.coordination.k8s.io in moorage-system: nobody tends pins"


def test_where_nothing_is_allowed_one_line_says_so() -> None:
    (found,) = judge(ADOPT, dict.fromkeys(WANTED[ADOPT], False))
    assert "no role names it" in found.found


def test_where_nobody_may_ask_about_others_that_is_said() -> None:
    forbidden = Unseen("subjectaccessreviews", "subjectaccessreviews is forbidden", is_forbidden=True)
    (found,) = judge(ADOPT, dict.fromkeys(WANTED[ADOPT], forbidden))
    assert (found.level, found.looked) == (Level.WARNING, "rights of service account moorage-adopt in moorage-system")
    assert found.found == "cannot be looked at: subjectaccessreviews is forbidden"


def test_a_person_reads_what_is_missing_and_what_is_not_said_for_it() -> None:
    found = judge_person({right: right.resource != "nodes" for right in OF_PERSON})
    assert (found.level, found.found) == (Level.WARNING, "you may not list nodes")
    assert found.advice == "run doctor as somebody who may: it says less about agents"
    assert judge_person(dict.fromkeys(OF_PERSON, True)).level is Level.OK
