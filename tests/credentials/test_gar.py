"""Logins at Google's registries with google-auth itself, against services that check what Google's check."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.cloud import Front, Logged, Said, served
from tests.support.google import POOL, Google
from tests.support.registry import CANARY, PATH
from webhook.credentials.cloud import Threads
from webhook.credentials.gar import Gar

HOST: Final = "europe-west1-docker.pkg.dev"
HOURS: Final = 3600.0
REFUSED: Final = "Google refuses the credentials, or cannot be reached"
KINDS: Final = "external_account, service_account, impersonated_service_account, authorized_user"


@pytest.fixture
def google() -> Google:
    return Google()


@pytest.fixture
def front(google: Google, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    with served(google, monkeypatch, tmp_path) as front:
        yield front


@pytest.fixture
def federated(google: Google, front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A workload outside of Google; the file of its token."""
    file = google.write_federation(tmp_path, google.service_account_token())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return tmp_path / "subject-token"


@asynccontextmanager
async def opened(front: Front, *hosts: str) -> AsyncIterator[Logged]:
    threads = Threads()
    stack = Logged(lambda _outbound, _registries, _clock: Gar(threads), *hosts)
    await stack.open([front.registry(host, "gar") for host in hosts], front)
    try:
        yield stack
    finally:
        await stack.close()


def pinned(google: Google) -> str:
    return f"localhost:30081/{PATH}@{google.document.digest}"


def is_clean(google: Google, *texts: str) -> bool:
    return not [secret for secret in google.secrets() for text in texts if secret in text]


Written = Callable[[Google, Path, pytest.MonkeyPatch], Path]


def a_key(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return google.write_key(folder)


def a_person(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return google.write_person(folder)


def a_node_at_amazon(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    google.aws.has_role = True
    return google.write_amazon(folder)


def a_process_at_amazon(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that was given keys."""
    name = google.aws.key()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", google.aws.keys[name].secret)
    monkeypatch.setenv("AWS_SESSION_TOKEN", google.aws.keys[name].session)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    return google.write_amazon(folder)


@pytest.mark.parametrize("written", [a_key, a_person, a_node_at_amazon, a_process_at_amazon])
async def test_other_identities_log_in_too_and_once_for_all(
    written: Written, google: Google, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(written(google, tmp_path, monkeypatch)))
    async with opened(front, HOST) as stack:
        seen = await stack.admit(f"{HOST}/{PATH}:stable")
        assert seen.images == [pinned(google)], seen.warnings
        assert await stack.burst(HOST, 20) == {pinned(google)}
        assert len(google.tokens) == 1
        assert is_clean(google, stack.shown(), json.dumps(seen.pod), *seen.warnings)
        # Nothing was asked of Amazon but what its node knows; the question to STS is Google's to ask.
        assert not google.of("sts.us-west-2")
        assert not google.of("sts.eu-central-1")


async def test_a_key_that_was_replaced_is_read_anew(
    google: Google, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.write_key(tmp_path)))
    async with opened(front, HOST) as stack:
        assert await stack.burst(HOST, 1) == {pinned(google)}
        google.write_key(tmp_path)
        del google.keys["key-0"]
        google.expire()
        stack.clock.forward(2 * HOURS)
        assert await stack.burst(HOST, 5) == {pinned(google)}


@pytest.mark.parametrize("host", [HOST, "gcr.io", "eu.gcr.io"])
async def test_the_metadata_servers_token_logs_in(host: str, google: Google, front: Front) -> None:
    google.node = True
    async with opened(front, host) as stack:
        seen = await stack.admit(f"{host}/{PATH}:stable")
        assert seen.images == [pinned(google)], seen.warnings
        assert not google.of("sts")
        assert is_clean(google, stack.shown(), json.dumps(seen.pod), *seen.warnings)


async def test_a_federated_workload_logs_in_as_a_service_account(google: Google, front: Front, federated: Path) -> None:
    async with opened(front, HOST) as stack:
        seen = await stack.admit(f"{HOST}/{PATH}:stable")
        assert seen.images == [pinned(google)], seen.warnings
        assert len(google.of("sts.googleapis.com")) == 1
        assert not google.of("metadata")
        assert is_clean(google, stack.shown(), json.dumps(seen.pod), *seen.warnings)


async def test_one_login_serves_fifty_namespaces_and_all_of_googles_registries(
    google: Google, front: Front, federated: Path
) -> None:
    async with opened(front, HOST, "gcr.io") as stack:
        assert await stack.burst(HOST, 50) == {pinned(google)}
        assert await stack.burst("gcr.io", 50) == {pinned(google)}
        assert len(google.of("iamcredentials")) == 1


def nothing(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")


def other_audience(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_federation(folder, google.service_account_token(audience="api"))


def expired(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_federation(folder, google.service_account_token(life=-60))


def no_file(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "credentials.json").unlink()


def no_json(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "credentials.json").write_text(CANARY)


def a_list(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "credentials.json").write_text(json.dumps([CANARY]))


def unknown_kind(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_federation(folder, "token", type=CANARY)


def a_program(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    program = {"executable": {"command": f"touch {folder / 'started'}", "timeout_millis": 5000}}
    google.write_federation(folder, "token", credential_source=program)


def broken(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.faults["iamcredentials"] = lambda _ask: Said(400, CANARY.encode())


def no_trust(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")


def a_deleted_key(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_key(folder)
    google.keys.clear()


def a_key_of_somebody_else(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_key(folder, client_email="other@project.iam.gserviceaccount.com")


def a_key_under_another_name(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_key(folder)
    google.write_key(folder, private_key_id="key-0")


def a_key_that_is_none(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_key(folder, private_key=CANARY)


def a_key_of_numbers(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_key(folder, private_key=17)


def half_a_key(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_key(folder, client_email=None, token_uri="")


def a_person_who_logged_out(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_person(folder, refresh_token=CANARY)


def half_a_person(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_person(folder, refresh_token=None)


def a_kind_that_is_no_text(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_person(folder, type=["authorized_user"])


def half_a_federation(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_federation(folder, "token", token_url=None)


def no_source(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_federation(folder, "token", credential_source=CANARY)


def a_node_without_a_role(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_amazon(folder)


def an_expired_key_of_amazons(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_process_at_amazon(google, folder, monkeypatch)
    for key in google.aws.keys.values():
        key.until = 0.0


def a_wrong_key_of_amazons(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_process_at_amazon(google, folder, monkeypatch)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)


def another_provider_of_amazons(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.aws.has_role = True
    google.write_amazon(folder, audience=POOL)


def another_version_of_amazons(google: Google, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.write_amazon(folder, credential_source={"environment_id": "aws9", "regional_cred_verification_url": CANARY})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (a_deleted_key, REFUSED),
        (a_key_of_somebody_else, REFUSED),
        (a_key_under_another_name, REFUSED),
        (a_key_that_is_none, "the credentials file cannot be used"),
        (a_key_of_numbers, "the credentials file cannot be used"),
        (half_a_key, "the credentials file lacks client_email, token_uri"),
        (a_person_who_logged_out, REFUSED),
        (half_a_person, "the credentials file lacks refresh_token"),
        (a_kind_that_is_no_text, f"the credentials file is none of {KINDS}"),
        (half_a_federation, "the credentials file lacks token_url"),
        (no_source, "the credentials file cannot be used"),
        (a_node_without_a_role, REFUSED),
        (an_expired_key_of_amazons, "Google's token service refuses the identity"),
        (a_wrong_key_of_amazons, "Google's token service refuses the identity"),
        (another_provider_of_amazons, "Google's token service refuses the identity"),
        (another_version_of_amazons, "the credentials file cannot be used"),
        (nothing, "Google refuses the credentials, or cannot be reached"),
        (other_audience, "Google's token service refuses the identity"),
        (expired, "Google's token service refuses the identity"),
        (no_file, "a file that the credentials name cannot be read"),
        (no_json, "the credentials file cannot be used"),
        (a_list, "the credentials file is no JSON object"),
        (unknown_kind, f"the credentials file is none of {KINDS}"),
        (a_program, "the credentials file names a program, and none is started"),
        (broken, "Google refuses the credentials, or cannot be reached"),
        (no_trust, "Google cannot be reached"),
    ],
)
async def test_why_there_is_no_login_is_told_in_our_own_words(
    spoil: Callable[[Google, Path, pytest.MonkeyPatch], None],
    told: str,
    google: Google,
    front: Front,
    federated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(google, tmp_path, monkeypatch)
    async with opened(front, HOST) as stack:
        seen = await stack.admit(f"{HOST}/{PATH}:stable")
        assert seen.warnings == [
            f"moorage: c0: {HOST}/{PATH}:stable kept as is, not resolved (NoLogin): no gar login: {told}"
        ]
        assert is_clean(google, stack.shown(), caplog.text, json.dumps(seen.pod), *seen.warnings)
        assert not (tmp_path / "started").exists()


async def test_what_the_account_may_not_read_is_not_found(google: Google, front: Front, federated: Path) -> None:
    google.may_read = False
    async with opened(front, HOST) as stack:
        assert "AbsentOrDenied" in (await stack.admit(f"{HOST}/{PATH}:stable")).warnings[0]


async def test_a_token_that_expires_during_a_burst_is_asked_for_once(
    google: Google, front: Front, federated: Path
) -> None:
    async with opened(front, HOST) as stack:
        assert await stack.burst(HOST, 50) == {pinned(google)}
        google.expire()
        stack.clock.forward(1 * HOURS)
        assert await stack.burst(HOST, 50) == {pinned(google)}
        assert len(google.of("iamcredentials")) == 2


async def test_a_token_that_the_kubelet_replaced_is_read_anew(google: Google, front: Front, federated: Path) -> None:
    async with opened(front, HOST) as stack:
        await stack.burst(HOST, 1)
        google.issuer = "another-secret-of-the-cluster's-issuer-0123456789"
        new = google.service_account_token()
        federated.with_name("next").write_text(new)
        federated.with_name("next").rename(federated)
        google.expire()
        stack.clock.forward(2 * HOURS)
        assert await stack.burst(HOST, 5) == {pinned(google)}
        assert [one.form["subject_token"] == new for one in google.of("sts")] == [False, True]


async def test_a_host_that_is_none_of_googles_gets_no_login(google: Google, front: Front, federated: Path) -> None:
    host = "pkg.dev.evil.example"
    async with opened(front, host) as stack:
        await stack.admit(f"{host}/{PATH}:stable")
    assert not google.of("sts")
    assert all("authorization" not in one.headers for one in google.of(host))
