"""The words of kubectl for kinds that make Pods. Sources: `kubectl api-resources`, kubectl's resource builder."""

import pytest

from webhook.core.subject import TEMPLATES
from webhook.core.workload import KINDS, BadWords, Named, Resource, are_objects, guessed, read, resource_of

ROLLOUT = Resource("Rollout", "argoproj.io", "", "rollouts")
EVERY = (*KINDS, ROLLOUT)
OF_KIND = {one.kind: one for one in EVERY}

WORDS = [
    ("deploy", "Deployment"),
    ("deployment", "Deployment"),
    ("deployments", "Deployment"),
    ("Deployment", "Deployment"),
    ("deployments.apps", "Deployment"),
    ("deployment.apps", "Deployment"),
    ("deployments.v1.apps", "Deployment"),
    ("sts", "StatefulSet"),
    ("ds", "DaemonSet"),
    ("rs", "ReplicaSet"),
    ("rc", "ReplicationController"),
    ("po", "Pod"),
    ("pods", "Pod"),
    ("pods.v1", "Pod"),
    ("job", "Job"),
    ("jobs.batch", "Job"),
    ("cj", "CronJob"),
    ("podtemplate", "PodTemplate"),
    ("rollout", "Rollout"),
    ("rollouts.argoproj.io", "Rollout"),
]


@pytest.mark.parametrize(("word", "kind"), WORDS, ids=[row[0] for row in WORDS])
def test_a_kind_goes_by_its_names(word: str, kind: str) -> None:
    assert [one.kind for one in EVERY if one.is_called(word)] == [kind]
    assert read([f"{word}/app"], EVERY) == (Named(OF_KIND[kind], ("app",)),)
    assert are_objects([f"{word}/app"], EVERY)


@pytest.mark.parametrize(
    "word", ["", "deploys", "deployments.batch", "deployments.v1beta1.apps", "pods.apps", "pod.yaml"]
)
def test_a_word_that_is_no_kind_names_nothing(word: str) -> None:
    assert not any(one.is_called(word) for one in EVERY)
    assert not are_objects([word], EVERY)


LINES = [
    (["deploy/app", "po/x"], (("Deployment", "app"), ("Pod", "x"))),
    (["deploy", "app", "other"], (("Deployment", "app", "other"),)),
    (["deploy"], (("Deployment",),)),
    (["deploy,sts"], (("Deployment",), ("StatefulSet",))),
    (["deploy,sts", "app"], (("Deployment", "app"), ("StatefulSet", "app"))),
]


@pytest.mark.parametrize(("words", "expected"), LINES, ids=[" ".join(row[0]) for row in LINES])
def test_words_are_read_as_kubectl_reads_them(words: list[str], expected: tuple[tuple[str, ...], ...]) -> None:
    assert read(words, EVERY) == tuple(Named(OF_KIND[kind], tuple(names)) for kind, *names in expected)
    assert are_objects(words, EVERY)


BAD = [
    (["deploy/app", "other"], "write KIND/NAME for each, or KIND once and names after it"),
    (["deploy", "po/x"], "write KIND/NAME for each, or KIND once and names after it"),
    (["deploy/app/x"], "deploy/app/x: write it as KIND/NAME"),
    (["deploy/"], "deploy/: write it as KIND/NAME"),
    (["nosuch/app"], 'the server doesn\'t have a resource type "nosuch"'),
    (["deploy,nosuch"], 'the server doesn\'t have a resource type "nosuch"'),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_words_that_name_nothing_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(BadWords) as bad:
        read(words, EVERY)
    assert str(bad.value) == said


@pytest.mark.parametrize("word", ["app.yaml", "manifests/app", "./deploy", "../deploy/app", "/deploy/app", "-", ""])
def test_a_path_is_no_object(word: str) -> None:
    assert not are_objects([word], EVERY)


def test_every_kind_with_a_template_has_a_name_and_a_place() -> None:
    assert {one.key for one in KINDS} == set(TEMPLATES)


def test_kinds_of_the_configuration_are_guessed_until_the_api_server_is_asked() -> None:
    assert guessed([*TEMPLATES, "Rollout.argoproj.io"]) == (ROLLOUT,)


PATHS = [
    ("Deployment", "shop", "/apis/apps/v1/namespaces/shop/deployments"),
    ("Deployment", "", "/apis/apps/v1/deployments"),
    ("Pod", "shop", "/api/v1/namespaces/shop/pods"),
    ("Pod", "a/../b", "/api/v1/namespaces/a%2F..%2Fb/pods"),
]


@pytest.mark.parametrize(("kind", "namespace", "path"), PATHS, ids=[row[2] for row in PATHS])
def test_objects_are_kept_where_the_api_server_keeps_them(kind: str, namespace: str, path: str) -> None:
    assert OF_KIND[kind].folder(namespace) == path


def test_the_kind_of_an_object_is_found_by_kind_and_group() -> None:
    assert resource_of({"apiVersion": "apps/v1", "kind": "Deployment"}, EVERY) == OF_KIND["Deployment"]
    assert resource_of({"apiVersion": "example.com/v1", "kind": "Deployment"}, EVERY) is None
    assert resource_of({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}, EVERY) == ROLLOUT
