"""Certificates and keys that processes keep by themselves, on a real API server that trusts what the registration says."""

import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.account import HOME
from tests.cluster.configuration import configuration
from tests.cluster.evidence import Evidence
from tests.cluster.kept import KEEPS, KIND, SECRET, Install, Load, install
from tests.cluster.namespace import Namespace
from tests.cluster.process import SCRIPTS, ran
from tests.cluster.real.api import JSON_PATCH, ApiError
from tests.cluster.real.plane import Running
from tests.cluster.workloads import pod
from tests.support.until import until
from webhook.certificates import made as all_anew
from webhook.certificates import stored_of
from webhook.tls import utc_now

Start = Callable[..., Install]


@pytest.fixture
def installed(plane: Running, namespace: Namespace, tmp_path: Path, evidence: Evidence) -> Iterator[Start]:
    """Gives `installed(count, …)`: processes that are starting."""
    with ExitStack() as running:

        def start(count: int = 3, **more: Any) -> Install:
            evidence.add_log(tmp_path / "logs" / "haproxy.log")
            for number in range(count):
                evidence.add_log(tmp_path / "logs" / f"replica-{number}.log")
            name = f"certs-{namespace.name.rpartition('-')[2]}"
            starting = install(
                plane, tmp_path, configuration("registry.invalid"), name=name, only=namespace.name, count=count, **more
            )
            return running.enter_context(starting)

        yield start


def is_served(namespace: Namespace) -> bool:
    """Whether a Pod's creation is answered."""
    try:
        namespace.create(pod("probe", "registry.invalid/probe:1"), dry_run=True)
    except ApiError:
        return False
    return True


def certificates(text: str) -> list[str]:
    """Each certificate of a text."""
    return [f"{one}-----END CERTIFICATE-----\n" for one in text.split("-----END CERTIFICATE-----\n")[:-1]]


# A rotation passes four waits of a second or ten: 20 s.
def test_leaf_and_authority_are_changed_under_load_and_no_call_fails(installed: Start, namespace: Namespace) -> None:
    made = installed()
    made.await_ready()
    until("Pods are admitted", lambda: is_served(namespace))
    with Load(namespace.api, namespace.name).running() as load:
        before = made.entry("tls.crt")
        ran("certs", "rotate", "leaf", "--kubeconfig", namespace.kubeconfig)
        until(
            "another leaf is served",
            lambda: {one.leaf() for one in made.replicas} == {made.entry("tls.crt")} != {before},
        )
        (old,) = certificates(made.entry("ca.crt"))
        path = made.paths()
        made.annotate(rotate="all")
        until("both authorities are trusted", lambda: made.authorities() == 2)
        until("the new one signs", lambda: made.entry("ca.key").count("BEGIN") == 1)
        until("every replica serves it", lambda: {one.leaf() for one in made.replicas} == {made.entry("tls.crt")})
        until("callers are sent elsewhere", lambda: made.paths() != path)
        assert certificates(made.bundles()[0])[1] == old
        ran("certs", "rotate", "drop", "--kubeconfig", namespace.kubeconfig)
        until("the old one is gone", lambda: made.authorities() == 1 and len(made.entry("path.secret").split()) == 1)
        assert made.bundles()[0] != old
        seen = load.count
        until("calls go on", lambda: load.count > seen + 50)
    assert load.failed == []
    assert load.count > 200
    assert "error" not in ran("certs", "check", "--kubeconfig", namespace.kubeconfig)
    assert "next" in ran("certs", "show", "--kubeconfig", namespace.kubeconfig)
    assert "PRIVATE" not in "".join(one.log.read_text() for one in made.replicas)


# Another one takes the Lease after 2 s, and then waits as the first did; a process takes 2 s to start.
def test_whoever_keeps_the_secret_may_die_at_any_step(installed: Start, namespace: Namespace) -> None:
    made = installed()
    made.await_ready()
    until("Pods are admitted", lambda: is_served(namespace))
    made.annotate(rotate="all")
    until("another authority stands in the Secret", lambda: len(certificates(made.entry("ca.crt"))) == 2)
    holder = made.holder()
    holder.kill()
    left = [one for one in made.replicas if one is not holder]
    until(
        "another one goes on",
        lambda: {one.leaf() for one in left} == {made.entry("tls.crt")} and made.entry("ca.key").count("BEGIN") == 1,
    )
    holder.start()
    holder.await_ready()
    assert holder.leaf() == made.entry("tls.crt")
    until("Pods are admitted", lambda: is_served(namespace))


def is_mended(made: Install, entry: str) -> bool:
    """Whether an entry holds more than what was written over it."""
    return len(made.entry(entry)) > 60


FOREIGN = b64encode(b"no certificate").decode()


# Seven repairs, each seen by three processes that look every third of a second.
def test_a_secret_that_is_spoilt_by_hand_is_mended_while_calls_are_answered(
    installed: Start, namespace: Namespace
) -> None:
    made = installed()
    made.await_ready()
    until("Pods are admitted", lambda: is_served(namespace))
    with Load(namespace.api, namespace.name, threads=2).running() as load:
        for spoilt in (
            {"tls_key": FOREIGN},
            {"tls_crt": None},
            {"ca_crt": FOREIGN},
            {"ca_key": None},
            {"path_secret": FOREIGN},
            {"seal_key": None},
        ):
            made.spoil(**spoilt)
            (name,) = (one.replace("_", ".") for one in spoilt)
            until(f"{name} is mended", partial(is_mended, made, name))
            until("every replica serves it", lambda: {one.leaf() for one in made.replicas} == {made.entry("tls.crt")})
        made.api.delete("Secret", SECRET, "moorage-system")
        until("it is made anew", lambda: made.entry("tls.crt"))
        until("every replica serves it", lambda: {one.leaf() for one in made.replicas} == {made.entry("tls.crt")})
    assert load.failed == []
    # Which ones is a matter of time: one that is mended before a replica has read it is no trouble.
    told = {problem for one in made.replicas for problem in one.problems("certificate not loaded")}
    assert told
    assert {one.partition(":")[0].removesuffix(" is not there") for one in told} == {
        "secret moorage-system/moorage-certs"
    }


def test_somebody_elses_secret_that_cannot_serve_is_told_once_and_calls_are_answered_as_before(
    installed: Start, namespace: Namespace
) -> None:
    made = installed()
    made.await_ready()
    until("Pods are admitted", lambda: is_served(namespace))
    made.api.patch("Secret", SECRET, {"metadata": {"labels": {"moorage.dev/managed": None}}}, HOME)
    theirs = stored_of(all_anew(["moorage.elsewhere.svc"], utc_now())).data()
    entries = {name.replace(".", "_"): theirs[name] for name in ("ca.crt", "tls.crt", "tls.key")}
    with Load(namespace.api, namespace.name, threads=2).running() as load:
        made.spoil(**entries, path_secret=b64encode(b"a/b").decode())
        until("every replica tells it", lambda: all(one.problems("certificate not loaded") for one in made.replicas))
        until("both authorities are trusted", lambda: made.authorities() == 2)
        seen = load.count
        until("calls go on", lambda: load.count > seen + 50)
    assert load.failed == []
    command = (SCRIPTS / "moorage", "certs", "check", "--kubeconfig", namespace.kubeconfig)
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 2
    assert "warning mutatingwebhookconfiguration moorage: says what was served by before" in checked.stdout
    for one in made.replicas:
        (problem,) = one.problems("certificate not loaded")[-1:]
        assert "the certificate is for moorage.elsewhere.svc, and not for moorage.moorage-system.svc" in problem
        assert one.problems("certificate not loaded").count(problem) == 1


def test_a_registration_that_is_applied_anew_is_mended(installed: Start, namespace: Namespace) -> None:
    made = installed(1)
    made.await_ready()
    webhooks = made.api.get("MutatingWebhookConfiguration", "moorage")["webhooks"]
    for one in webhooks:
        one["clientConfig"].pop("caBundle")
        one["clientConfig"]["service"]["path"] = "/mutate"
    made.api.patch("MutatingWebhookConfiguration", "moorage", {"webhooks": webhooks})
    made.await_registered()
    until("Pods are admitted", lambda: is_served(namespace))


def answering(made: Install, path: str) -> set[int]:
    """What replicas say to a GET there: 405 where reviews arrive, 404 elsewhere."""
    gets = [f"https://127.0.0.1:{one.admission}{path}" for one in made.replicas]
    return {httpx.get(url, verify=False, trust_env=False).status_code for url in gets}


# API servers and replicas are given ten times as long as they have to hear of a change: 10 s.
def test_path_upkeep_is_turned_off_and_on_again_and_no_call_fails(installed: Start, namespace: Namespace) -> None:
    made = installed()
    made.await_ready()
    until("Pods are admitted", lambda: is_served(namespace))
    (secret,) = made.paths()
    with Load(namespace.api, namespace.name, threads=2).running() as load:
        annotate = ("annotate", KIND, "moorage", "--overwrite")
        namespace.kubectl(*annotate, "moorage.dev/ca-bundle=elsewhere")
        until("the plain path is answered, too", lambda: answering(made, "/mutate") == {405})
        assert "and the path without one is answered" in ran("certs", "check", "--kubeconfig", namespace.kubeconfig)
        assert answering(made, secret) == {405}
        path = [
            {"op": "replace", "path": f"/webhooks/{n}/clientConfig/service/path", "value": "/mutate"} for n in (0, 1)
        ]
        namespace.api.patch(KIND, "moorage", path, content_type=JSON_PATCH)
        until("the secret one is not", lambda: answering(made, secret) == {404})
        assert made.entry("path.secret") == ""
        seen = load.count
        until("calls go on", lambda: load.count > seen + 50)

        namespace.kubectl(*annotate, "moorage.dev/ca-bundle-")
        until("callers are sent to a secret path", lambda: made.paths().isdisjoint({secret, "/mutate"}))
        until("the plain one is not answered", lambda: answering(made, "/mutate") == {404})
        seen = load.count
        until("calls go on", lambda: load.count > seen + 50)
    assert load.failed == []


NEEDS = {
    "create secrets": (KEEPS[0], "the account may not create secrets there"),
    "get secrets": (KEEPS[1], 'cannot get resource "secrets"'),
    "update secrets": (KEEPS[2], "the account may not update secrets there"),
    "get registration": (KEEPS[3], 'cannot get resource "mutatingwebhookconfigurations"'),
    "patch registration": (KEEPS[4], 'cannot patch resource "mutatingwebhookconfigurations"'),
    "create leases": (KEEPS[5], 'cannot create resource "leases"'),
    "get leases": (KEEPS[6], 'cannot get resource "leases"'),
    "update leases": (KEEPS[7], 'cannot update resource "leases"'),
}


@pytest.mark.parametrize("verb", NEEDS)
def test_a_right_that_is_missing_is_told_in_one_line(installed: Start, verb: str) -> None:
    without, words = NEEDS[verb]
    (one,) = installed(1, without=without).replicas
    until(
        "it is told",
        lambda: any(
            words in line
            for event in ("certificates not kept", "certificate not loaded")
            for line in one.problems(event)
        ),
    )
    for event in ("certificates not kept", "certificate not loaded"):
        assert len(one.problems(event)) == len({*one.problems(event)})
