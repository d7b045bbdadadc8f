"""Logins at Azure's registries with azure-identity itself, against services that check what Microsoft's check."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.azure import CLIENT, TENANT, Azure
from tests.support.cloud import Front, Logged, Said, served
from tests.support.registry import CANARY, PATH
from webhook.credentials.acr import Acr, EntraTokens
from webhook.credentials.cloud import Threads

HOST: Final = "acmeprod.azurecr.io"
OTHER: Final = "acmeus.azurecr.io"
ENTRA: Final = "login.microsoftonline.com"
HOURS: Final = 3600.0


@pytest.fixture
def azure() -> Azure:
    return Azure()


@pytest.fixture
def front(azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    with served(azure, monkeypatch, tmp_path) as front:
        yield front


@pytest.fixture
def workload(azure: Azure, front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Pod as the webhook of Entra Workload ID leaves it."""
    file = tmp_path / "azure-token"
    file.write_text(azure.service_account_token())
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    return file


@asynccontextmanager
async def opened(front: Front, *hosts: str) -> AsyncIterator[Logged]:
    threads = Threads()
    stack = Logged(lambda out, known, clock: Acr(EntraTokens(threads, clock), out, known), *hosts)
    await stack.open([front.registry(host, "acr") for host in hosts], front)
    try:
        yield stack
    finally:
        await stack.close()


def pinned(azure: Azure) -> str:
    return f"localhost:30081/{PATH}@{azure.document.digest}"


def is_clean(azure: Azure, *texts: str) -> bool:
    return not [secret for secret in azure.secrets() for text in texts if secret in text]


@pytest.mark.parametrize(
    ("host", "entra"),
    [
        (HOST, ENTRA),
        ("acmeprod-a1b2c3d4.azurecr.io", ENTRA),
        ("acmeprod.westeurope.geo.azurecr.io", ENTRA),
        ("acmeprod.azurecr.cn", "login.chinacloudapi.cn"),
        ("acmeprod.azurecr.us", "login.microsoftonline.us"),
    ],
)
async def test_a_workloads_identity_logs_in_at_the_registrys_own_cloud(
    host: str, entra: str, azure: Azure, front: Front, workload: Path
) -> None:
    async with opened(front, host) as stack:
        seen = await stack.admit(f"{host}/{PATH}:stable")
        assert seen.images == [pinned(azure)], seen.warnings
        assert {one.host for one in azure.of("login.")} == {entra}
        assert [one.path for one in azure.of(host) if one.method == "POST"] == ["/oauth2/exchange", "/oauth2/token"]
        assert is_clean(azure, stack.shown(), json.dumps(seen.pod), *seen.warnings)


async def test_the_authority_that_the_cluster_names_wins(
    azure: Azure, front: Front, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://login.partner.microsoftonline.cn/")
    async with opened(front, "acmeprod.azurecr.cn") as stack:
        assert await stack.burst("acmeprod.azurecr.cn", 1) == {pinned(azure)}
        assert {one.host for one in azure.of("login.")} == {"login.partner.microsoftonline.cn"}


async def test_a_managed_identity_logs_in(azure: Azure, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.node = True
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    async with opened(front, HOST) as stack:
        assert await stack.burst(HOST, 5) == {pinned(azure)}
        (asked,) = [one for one in azure.of("169.254.169.254") if "resource" in one.query]
        assert asked.query["client_id"] == CLIENT


async def test_an_applications_secret_logs_in(azure: Azure, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CLIENT_ID", CLIENT), ("TENANT_ID", TENANT), ("CLIENT_SECRET", azure.secret)):
        monkeypatch.setenv(f"AZURE_{name}", value)
    async with opened(front, HOST) as stack:
        assert await stack.burst(HOST, 5) == {pinned(azure)}


async def test_fifty_namespaces_share_one_login_and_registries_share_the_one_at_entra(
    azure: Azure, front: Front, workload: Path
) -> None:
    async with opened(front, HOST, OTHER) as stack:
        assert await stack.burst(HOST, 50) == {pinned(azure)}
        assert await stack.burst(OTHER, 50) == {pinned(azure)}
        assert len([one for one in azure.of("login.") if one.path.endswith("/token")]) == 1
        exchanged = [one.host for one in azure.asked if one.path == "/oauth2/exchange"]
        assert exchanged == [HOST, OTHER]


def nothing(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEDERATED_TOKEN_FILE", "CLIENT_ID", "TENANT_ID"):
        monkeypatch.delenv(f"AZURE_{name}")


def other_audience(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload.write_text(azure.service_account_token(audience="api"))


def another_account(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload.write_text(azure.service_account_token(name="intruder"))


def expired(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload.write_text(azure.service_account_token(life=-60))


def no_file(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workload.unlink()


def no_tenant(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_TENANT_ID")


def no_member(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.members = False


def entra_is_down(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.faults["login."] = lambda _ask: Said(500, CANARY.encode())


def exchange_redirects(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.faults[HOST] = lambda ask: (
        Said(307, headers=(("Location", f"https://evil.example/{CANARY}"),)) if ask.path == "/oauth2/exchange" else None
    )


def no_token(azure: Azure, workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.faults[HOST] = lambda ask: (
        Said(200, json.dumps({"refresh_token": f"{CANARY} \n"}).encode()) if ask.path == "/oauth2/exchange" else None
    )


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nothing, "there is no managed identity, or its endpoint does not answer"),
        (other_audience, "Entra refuses the identity"),
        (another_account, "Entra refuses the identity"),
        (expired, "Entra refuses the identity"),
        (no_file, "the service account's token cannot be read"),
        (no_tenant, "the Azure settings are not complete"),
        (no_member, "its /oauth2/exchange answers 401"),
        (entra_is_down, "Entra does not answer as it should"),
        (exchange_redirects, "its /oauth2/exchange: its token server redirects, which is never followed"),
        (no_token, "its /oauth2/exchange answers something that is no token"),
    ],
)
async def test_why_there_is_no_login_is_told_in_our_own_words(
    spoil: Callable[[Azure, Path, pytest.MonkeyPatch], None],
    told: str,
    azure: Azure,
    front: Front,
    workload: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(azure, workload, monkeypatch)
    async with opened(front, HOST) as stack:
        seen = await stack.admit(f"{HOST}/{PATH}:stable")
        assert seen.warnings == [
            f"moorage: c0: {HOST}/{PATH}:stable kept as is, not resolved (NoLogin): no acr login: {told}"
        ]
        assert not azure.of("evil")
        assert is_clean(azure, stack.shown(), caplog.text, json.dumps(seen.pod), *seen.warnings)


async def test_a_token_that_expires_during_a_burst_is_asked_for_once(
    azure: Azure, front: Front, workload: Path
) -> None:
    async with opened(front, HOST) as stack:
        assert await stack.burst(HOST, 50) == {pinned(azure)}
        azure.expire()
        stack.clock.forward(3 * HOURS)
        assert await stack.burst(HOST, 50) == {pinned(azure)}
        assert len([one for one in azure.asked if one.path == "/oauth2/exchange"]) == 2


async def test_a_registrys_token_lives_as_long_as_it_says(azure: Azure, front: Front, workload: Path) -> None:
    azure.life = 1200.0
    async with opened(front, HOST) as stack:
        await stack.burst(HOST, 1)
        stack.clock.forward(599)
        await stack.burst(HOST, 1)
        await stack.landed()
        assert stack.troubles == [""]
        stack.clock.forward(2)
        await stack.burst(HOST, 1)
        await stack.landed()
        assert stack.troubles == ["", ""]


async def test_a_service_accounts_token_that_the_kubelet_replaced_is_read_anew(
    azure: Azure, front: Front, workload: Path
) -> None:
    async with opened(front, HOST) as stack:
        await stack.burst(HOST, 1)
        azure.issuer = "another-secret-of-the-cluster's-issuer-0123456789"
        new = azure.service_account_token()
        workload.with_name("next").write_text(new)
        workload.with_name("next").rename(workload)
        azure.expire()
        stack.clock.forward(4 * HOURS)
        assert await stack.burst(HOST, 5) == {pinned(azure)}
        sent = [one.form["client_assertion"] == new for one in azure.of("login.") if one.path.endswith("/token")]
        assert sent == [False, True]


async def test_a_host_that_is_none_of_azures_gets_no_login(azure: Azure, front: Front, workload: Path) -> None:
    host = f"{HOST}.evil.example"
    async with opened(front, host) as stack:
        await stack.admit(f"{host}/{PATH}:stable")
    assert not azure.of("login.")
    assert [one.path for one in azure.of(host) if one.body] == []
