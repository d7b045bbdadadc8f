"""Logins at ECR with botocore itself, against services that check what Amazon's check."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.aws import ROLE, Aws
from tests.support.canary import marked
from tests.support.cloud import Front, Logged, Said, served
from tests.support.registry import CANARY, PATH
from webhook.core.globs import Globs
from webhook.core.hosts import CredentialSource
from webhook.credentials.cloud import Threads
from webhook.credentials.ecr import Ecr

ACCOUNT: Final = "123456789012"
HOST: Final = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
OTHERS: Final = "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
API: Final = "api.ecr.eu-west-1.amazonaws.com"
HOURS: Final = 3600.0


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def front(aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    with served(aws, monkeypatch, tmp_path) as front:
        yield front


@pytest.fixture
def keys(aws: Aws, front: Front, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keys in the environment, which last."""
    return use(aws, monkeypatch, aws.key(is_temporary=False))


@pytest.fixture
def threads() -> Threads:
    return Threads()


def use(aws: Aws, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    key = aws.keys[name]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)
    monkeypatch.setenv("AWS_SESSION_TOKEN", key.session)
    return name


@asynccontextmanager
async def opened(
    front: Front, threads: Threads, *hosts: str, kinds: Sequence[str | CredentialSource] = ("ecr",)
) -> AsyncIterator[Logged]:
    stack = Logged(lambda _outbound, _registries, _clock: Ecr(threads), *hosts)
    await stack.open([front.registry(host, *kinds) for host in hosts], front)
    try:
        yield stack
    finally:
        await stack.close()


def pinned(aws: Aws) -> str:
    return f"localhost:30081/{PATH}@{aws.document.digest}"


def is_clean(aws: Aws, *texts: str) -> bool:
    """Whether none of these shows a secret or a word of Amazon's."""
    return not [secret for secret in aws.secrets() for text in texts if secret in text]


@pytest.mark.parametrize(
    ("host", "api"),
    [
        (HOST, API),
        (f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "api.ecr-fips.us-gov-west-1.amazonaws.com"),
        (f"{ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
        (f"{ACCOUNT}.dkr-ecr.us-west-2.on.aws", "ecr.us-west-2.api.aws"),
        (f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws", "ecr-fips.us-west-2.api.aws"),
        (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
        (f"{ACCOUNT}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "ecr.cn-north-1.api.amazonwebservices.com.cn"),
        (f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu", "api.ecr.eusc-de-east-1.amazonaws.eu"),
        (f"{ACCOUNT}.dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov"),
        (f"{ACCOUNT}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "api.ecr.us-isob-east-1.sc2s.sgov.gov"),
        (f"{ACCOUNT}.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
        (f"{ACCOUNT}.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "api.ecr.us-isof-south-1.csp.hci.ic.gov"),
    ],
)
async def test_the_token_comes_from_the_region_and_the_partition_of_the_registrys_name(
    host: str, api: str, aws: Aws, front: Front, keys: str, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-southeast-2")
    async with opened(front, threads, host) as stack:
        seen = await stack.admit(f"{host}/{PATH}:stable")
        assert seen.images == [pinned(aws)], seen.warnings
        assert [one.host for one in aws.asked if "ecr" in one.host and "dkr" not in one.host] == [api]
        assert is_clean(aws, stack.shown(), json.dumps(seen.pod), *seen.warnings)


async def test_one_token_serves_fifty_namespaces_and_registries_of_other_accounts(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    async with opened(front, threads, HOST, OTHERS) as stack:
        assert await stack.burst(HOST, 50) == {pinned(aws)}
        assert await stack.burst(OTHERS, 50) == {pinned(aws)}
        assert len(aws.of("api.ecr")) == 1


async def test_what_another_account_does_not_share_is_not_found(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    aws.accounts.remove("210987654321")
    async with opened(front, threads, OTHERS) as stack:
        seen = await stack.admit(f"{OTHERS}/{PATH}:stable")
        assert seen.images == [f"{OTHERS}/{PATH}:stable"]
        assert "AbsentOrDenied" in seen.warnings[0]


@pytest.mark.parametrize("host", ["public.ecr.aws", "ecr-public.aws.com"])
async def test_a_public_registry_has_tokens_in_one_region_only(
    host: str, aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    async with opened(front, threads, host) as stack:
        assert (await stack.admit(f"{host}/{PATH}:stable")).images == [pinned(aws)]
        assert len(aws.of("api.ecr-public.us-east-1.amazonaws.com")) == 1
        assert aws.of(host)[-1].bearer == marked("gallery-token-of-AWS")


async def test_a_public_registry_is_read_anonymously_where_there_is_no_login(
    aws: Aws, front: Front, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with opened(front, threads, "public.ecr.aws", kinds=("ecr", "anonymous")) as stack:
        assert (await stack.admit(f"public.ecr.aws/{PATH}:stable")).images == [pinned(aws)]
        assert aws.of("public.ecr.aws")[-1].bearer == marked("gallery-token-of-nobody")


async def test_only_namespaces_and_paths_that_it_is_granted_to_get_the_login(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    granted = CredentialSource("ecr", namespaces=Globs(("team-*",)), paths=Globs(("team/**",)))
    async with opened(front, threads, HOST, kinds=(granted,)) as stack:
        other = await stack.admit(f"{HOST}/{PATH}:stable", namespace="other")
        assert other.images == [f"{HOST}/{PATH}:stable"]
        assert (await stack.admit(f"{HOST}/private/app:stable", namespace="team-1")).images == [
            f"{HOST}/private/app:stable"
        ]
        assert not aws.asked
        assert (await stack.admit(f"{HOST}/{PATH}:stable", namespace="team-1")).images == [pinned(aws)]
        # What one namespace learnt, the other does not see.
        other = await stack.admit(f"{HOST}/{PATH}:stable", namespace="other")
        assert other.images == [f"{HOST}/{PATH}:stable"]


def by_web_identity(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = folder / "token"
    file.write_text(aws.service_account_token())
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    return file


def by_pod_identity(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch, front: Front) -> None:
    aws.pod_identity = aws.service_account_token(audience="pods.eks.amazonaws.com")
    (folder / "pod-token").write_text(aws.pod_identity)
    # The agent's own address is 169.254.170.23, which the library also takes.
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{front.port}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(folder / "pod-token"))


async def test_a_service_accounts_role_logs_in(
    aws: Aws, front: Front, threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_web_identity(aws, tmp_path, monkeypatch)
    async with opened(front, threads, HOST) as stack:
        assert await stack.burst(HOST, 5) == {pinned(aws)}
        assert [one.host for one in aws.of("sts")] == ["sts.eu-central-1.amazonaws.com"]


async def test_sts_is_asked_in_the_registrys_region_where_no_other_is_said(
    aws: Aws, front: Front, threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_web_identity(aws, tmp_path, monkeypatch)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    async with opened(front, threads, HOST) as stack:
        assert await stack.burst(HOST, 1) == {pinned(aws)}
        assert [one.host for one in aws.of("sts")] == ["sts.eu-west-1.amazonaws.com"]


async def test_pod_identity_logs_in(
    aws: Aws, front: Front, threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_pod_identity(aws, tmp_path, monkeypatch, front)
    async with opened(front, threads, HOST) as stack:
        assert await stack.burst(HOST, 5) == {pinned(aws)}
        assert len(aws.of("127.0.0.1")) == 1


async def test_the_nodes_role_logs_in_by_the_second_version_of_the_metadata_service(
    aws: Aws, front: Front, threads: Threads
) -> None:
    aws.has_role = True
    async with opened(front, threads, HOST) as stack:
        assert await stack.burst(HOST, 5) == {pinned(aws)}
        assert [one.method for one in aws.of("169.254.169.254")] == ["PUT", "GET", "GET"]


def nothing(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def unknown_key(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del aws.keys[use(aws, monkeypatch, aws.key())]


def wrong_secret(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.keys[use(aws, monkeypatch, aws.key())].secret = marked("secret-key-canary-other")


def expired_key(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws, monkeypatch, aws.key(life=-1))


def denied(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws, monkeypatch, aws.key(may_log_in=False))


def token_for_others(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_web_identity(aws, folder, monkeypatch).write_text(aws.service_account_token(audience="api"))


def expired_token(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_web_identity(aws, folder, monkeypatch).write_text(aws.service_account_token(life=-60))


def another_account(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_web_identity(aws, folder, monkeypatch).write_text(aws.service_account_token(name="intruder"))


def no_token_file(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_web_identity(aws, folder, monkeypatch).unlink()


def throttled(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws, monkeypatch, aws.key())
    aws.throttled = 100


def broken(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws, monkeypatch, aws.key())
    aws.faults[API] = lambda _ask: Said(500, CANARY.encode())


def a_page(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws, monkeypatch, aws.key())
    aws.faults[API] = lambda _ask: Said(200, f"<html>{CANARY}</html>".encode())


def no_token(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws, monkeypatch, aws.key())
    answer = {"authorizationData": [{"authorizationToken": CANARY, "expiresAt": time.time() + 60}]}
    aws.faults[API] = lambda _ask: Said(200, json.dumps(answer).encode())


def no_trust(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(aws, monkeypatch, aws.key())
    monkeypatch.delenv("AWS_CA_BUNDLE")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")


def a_program(aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing(aws, folder, monkeypatch)
    (folder / "config").write_text(f"[default]\ncredential_process = touch {folder / 'started'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (nothing, "there are no AWS credentials: no IRSA, Pod Identity, instance role or keys"),
        (unknown_key, "AWS does not know the access key (ECR)"),
        (wrong_secret, "AWS does not take the signature: is the secret key right, and the clock? (ECR)"),
        (expired_key, "the AWS credentials have expired (ECR)"),
        (denied, "AWS denies it to the role (ECR)"),
        (token_for_others, "AWS does not take the service account's token (STS)"),
        (expired_token, "the AWS credentials have expired (STS)"),
        (another_account, "AWS denies it to the role (STS)"),
        (no_token_file, "a file that the AWS settings name cannot be read"),
        (throttled, "AWS asks to wait (ECR)"),
        (broken, "ECR answers 500"),
        (a_page, "AWS answers something that is no token"),
        (no_token, "AWS answers something that is no token"),
        (no_trust, "the certificate of AWS is not trusted"),
        (a_program, "there are no AWS credentials: no IRSA, Pod Identity, instance role or keys"),
    ],
)
async def test_why_there_is_no_login_is_told_in_our_own_words(
    spoil: Callable[[Aws, Path, pytest.MonkeyPatch], None],
    told: str,
    aws: Aws,
    front: Front,
    threads: Threads,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spoil(aws, tmp_path, monkeypatch)
    async with opened(front, threads, HOST) as stack:
        seen = await stack.admit(f"{HOST}/{PATH}:stable")
        assert seen.images == [f"{HOST}/{PATH}:stable"]
        assert seen.warnings == [
            f"moorage: c0: {HOST}/{PATH}:stable kept as is, not resolved (NoLogin): no ecr login: {told}"
        ]
        assert stack.troubles == [told]
        assert not aws.of(HOST)
        assert is_clean(aws, stack.shown(), caplog.text, json.dumps(seen.pod), *seen.warnings)
        assert not (tmp_path / "started").exists()


async def test_a_token_that_expires_during_a_burst_is_asked_for_once(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    async with opened(front, threads, HOST) as stack:
        assert await stack.burst(HOST, 50) == {pinned(aws)}
        aws.expire()
        stack.clock.forward(12 * HOURS)
        assert await stack.burst(HOST, 50) == {pinned(aws)}
        assert len(aws.of("api.ecr")) == 2
        assert stack.troubles == ["", ""]


async def test_a_token_is_renewed_ahead_while_the_old_one_is_used(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    async with opened(front, threads, HOST) as stack:
        await stack.burst(HOST, 1)
        stack.clock.forward(5.9 * HOURS)
        assert await stack.burst(HOST, 1) == {pinned(aws)}
        assert len(aws.of("api.ecr")) == 1
        stack.clock.forward(0.2 * HOURS)
        assert await stack.burst(HOST, 10) == {pinned(aws)}
        await stack.landed()
        assert len(stack.troubles) == 2
        assert len(aws.of("api.ecr")) == 2


async def test_the_old_token_is_used_while_renewal_fails_and_no_longer_than_it_lives(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    async with opened(front, threads, HOST) as stack:
        await stack.burst(HOST, 1)
        aws.faults[API] = lambda _ask: Said(503)
        stack.clock.forward(7 * HOURS)
        assert await stack.burst(HOST, 3) == {pinned(aws)}
        await stack.landed()
        assert stack.troubles == ["", "ECR answers 503"]
        stack.clock.forward(4.5 * HOURS)
        assert await stack.burst(HOST, 3) == {pinned(aws)}
        stack.clock.forward(1 * HOURS)
        # The last answer stands in, found again although the token that got it is gone.
        seen = await stack.admit(f"{HOST}/{PATH}:stable")
        assert seen.sources == ["stale"]
        aws.faults.clear()
        stack.clock.forward(300)
        assert (await stack.admit(f"{HOST}/{PATH}:stable")).sources == ["fresh"]


async def test_what_was_learnt_outlives_the_token(aws: Aws, front: Front, keys: str, threads: Threads) -> None:
    async with opened(front, threads, HOST) as stack:
        await stack.burst(HOST, 1)
        stack.clock.forward(5.999 * HOURS)
        await stack.burst(HOST, 1)
        asked = len(aws.of(HOST))
        stack.clock.forward(10)
        await stack.burst(HOST, 1)
        await stack.landed()
        assert len(stack.troubles) == 2
        assert (await stack.admit(f"{HOST}/{PATH}:stable")).sources == ["cached"]
        assert len(aws.of(HOST)) == asked


async def test_a_token_that_was_revoked_is_replaced_once_a_registry_refuses_it(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    async with opened(front, threads, HOST) as stack:
        await stack.burst(HOST, 1)
        aws.expire()
        stack.clock.forward(600)
        assert await stack.burst(HOST, 1) == {f"{HOST}/{PATH}:stable"}
        stack.clock.forward(6)
        assert await stack.burst(HOST, 1) == {f"{HOST}/{PATH}:stable"}
        await stack.landed()
        assert stack.troubles == ["", ""]
        stack.clock.forward(6)
        assert await stack.burst(HOST, 1) == {pinned(aws)}


async def test_a_service_accounts_token_that_the_kubelet_replaced_is_read_anew(
    aws: Aws, front: Front, threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = by_web_identity(aws, tmp_path, monkeypatch)
    async with opened(front, threads, HOST) as stack:
        await stack.burst(HOST, 1)
        aws.issuer = "another-secret-of-the-cluster's-issuer-0123456789"
        new = aws.service_account_token()
        (tmp_path / "next").write_text(new)
        (tmp_path / "next").rename(file)
        aws.expire()
        stack.clock.forward(13 * HOURS)
        assert await stack.burst(HOST, 5) == {pinned(aws)}
        assert [one.form["WebIdentityToken"] == new for one in aws.of("sts")] == [False, True]


async def test_keys_that_were_replaced_in_their_file_are_read_anew(
    aws: Aws, front: Front, threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def write() -> str:
        name = aws.key(is_temporary=False)
        file.write_text(f"[default]\naws_access_key_id={name}\naws_secret_access_key={aws.keys[name].secret}\n")
        return name

    old = write()
    async with opened(front, threads, HOST) as stack:
        assert await stack.burst(HOST, 1) == {pinned(aws)}
        write()
        del aws.keys[old]
        stack.clock.forward(7 * HOURS)
        await stack.burst(HOST, 1)
        await stack.landed()
        assert stack.troubles == ["", ""]


async def test_a_cloud_that_hangs_holds_up_neither_the_loop_nor_other_logins(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    async with opened(front, threads, HOST) as stack:
        aws.hanging.clear()
        waiting = asyncio.create_task(stack.admit(f"{HOST}/{PATH}:stable", seconds=0.4))
        longest = 0.0
        while not waiting.done():
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - began)
        seen = await waiting
        assert seen.warnings[0].endswith("(NoLogin): no ecr login: no answer in time")
        assert longest < 0.2, "the loop was held up"
        aws.hanging.set()
        # It goes on for those who come later.
        await stack.landed()
        assert stack.troubles == [""]
        assert await stack.burst(HOST, 1) == {pinned(aws)}
        assert len(aws.of("api.ecr")) == 1


async def test_a_host_that_is_none_of_amazons_gets_no_login(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    host = f"{HOST}.evil.example"
    async with opened(front, threads, host) as stack:
        await stack.admit(f"{host}/{PATH}:stable")
        assert not aws.of("api.ecr")
        assert all("authorization" not in one.headers for one in aws.of(host))
