"""Which candidates an image gets, for whom, and when that changes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.canary import marked
from webhook.core.credential import ANONYMOUS, Credential, candidates
from webhook.core.globs import Globs
from webhook.core.hosts import CredentialSource, Registries, Registry
from webhook.core.reference import Reference
from webhook.core.secret import Secret
from webhook.core.subject import Audience
from webhook.credentials.source import Credentials
from webhook.reading import MOST

KEY = b"k" * 32
APP = Reference.parse("registry.example.com/team/app:stable")
TEAM = Audience("team")
POD = Credential("docker-config", "person", Secret("pw"))


def logged_in(path: Path, *users: str) -> str:
    """A file with these users for the app, the first for the longest path."""
    places = {f"registry.example.com/{'team/app'[: 8 - index]}": user for index, user in enumerate(users)}
    auths = {place: {"username": user, "password": "x"} for place, user in places.items()}
    path.write_text(json.dumps({"auths": auths}))
    return str(path)


def asked(*sources: CredentialSource, **more: object) -> Credentials:
    return Credentials(Registries([Registry("registry.example.com", credentials=sources)]), key=KEY, **more)  # type: ignore[arg-type]


def kinds(credentials: Credentials, image: Reference = APP, audience: Audience = TEAM) -> list[tuple[str, str]]:
    found = credentials.peek(image, audience)
    assert found is not None
    return [(one.kind, one.username) for one in found.credentials]


class Slow:
    """A provider that has to be waited for, once."""

    def __init__(self, *found: Credential) -> None:
        self.found = found
        self.fetched = 0
        self.problems: tuple[str, ...] = ()

    def peek(self, image: Reference, audience: Audience) -> tuple[Credential, ...] | None:
        del image, audience
        return self.found if self.fetched else None

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> tuple[Credential, ...]:
        del image, audience, deadline
        self.fetched += 1
        return self.found


def test_tries_the_sources_in_the_order_of_the_configuration(tmp_path: Path) -> None:
    one = CredentialSource("file", file=logged_in(tmp_path / "one.json", "a", "b"))
    two = CredentialSource("file", file=logged_in(tmp_path / "two.json", "c"))
    nobody = CredentialSource("anonymous")
    assert kinds(asked(two, nobody, one)) == [("file", "c"), ("anonymous", ""), ("file", "a"), ("file", "b")]
    assert kinds(asked(one, two)) == [("file", "a"), ("file", "b"), ("file", "c")]


@pytest.mark.parametrize(
    ("namespaces", "paths", "granted"),
    [
        (("*",), ("**",), True),
        (("team",), ("team/*",), True),
        (("*", "!team"), ("**",), False),
        (("other",), ("**",), False),
        (("*",), ("other/**",), False),
        (("*",), ("team",), False),
        (("*",), ("**", "!team/app"), False),
    ],
)
def test_an_operators_credential_answers_only_where_it_is_granted(
    tmp_path: Path, namespaces: tuple[str, ...], paths: tuple[str, ...], *, granted: bool
) -> None:
    file = logged_in(tmp_path / "docker.json", "operator")
    source = CredentialSource("file", file=file, namespaces=Globs(namespaces), paths=Globs(paths))
    expected = [("file", "operator")] if granted else []
    assert kinds(asked(source, CredentialSource("anonymous"))) == [*expected, ("anonymous", "")]


def test_two_namespaces_share_a_fingerprint_only_with_the_same_candidates(tmp_path: Path) -> None:
    source = CredentialSource("file", file=logged_in(tmp_path / "d.json", "operator"), namespaces=Globs(("team-*",)))
    credentials = asked(source, CredentialSource("anonymous"))
    one, two, other = (credentials.peek(APP, Audience(name)) for name in ("team-a", "team-b", "other"))
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != other.fingerprint
    assert other == candidates([ANONYMOUS], KEY)
    assert other != candidates([ANONYMOUS], b"another key")


@pytest.mark.parametrize("kind", ["pod", "ecr", "acr", "gar"])
def test_a_kind_without_a_provider_contributes_nothing(kind: str) -> None:
    assert kinds(asked(CredentialSource(kind), CredentialSource("anonymous"))) == [("anonymous", "")]


def test_nothing_is_offered_to_a_host_that_is_not_listed() -> None:
    credentials = asked(CredentialSource("anonymous"))
    assert kinds(credentials, Reference.parse("evil.test/team/app")) == []


def test_the_same_secret_is_tried_once(tmp_path: Path) -> None:
    file = CredentialSource("file", file=logged_in(tmp_path / "docker.json", "operator"))
    assert kinds(asked(file, file)) == [("file", "operator")]


async def test_waits_for_a_provider_that_has_to_ask() -> None:
    pod = Slow(POD)
    credentials = asked(CredentialSource("pod"), CredentialSource("anonymous"), providers={"pod": pod})
    assert credentials.peek(APP, TEAM) is None
    found = await credentials.fetch(APP, TEAM, deadline=0)
    assert found == candidates([POD, ANONYMOUS], KEY)
    assert credentials.peek(APP, TEAM) == found
    pod.found = ()
    assert credentials.peek(APP, TEAM) == candidates([ANONYMOUS], KEY)
    await credentials.fetch(APP, TEAM, deadline=0)
    assert pod.fetched == 1


async def test_a_file_that_changes_while_another_source_is_waited_for_counts_as_it_is_then(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"

    class Changing(Slow):
        async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> tuple[Credential, ...]:
            logged_in(path, "new")
            credentials.refresh()
            return await super().fetch(image, audience, deadline=deadline)

    file = CredentialSource("file", file=logged_in(path, "old"))
    credentials = asked(file, CredentialSource("pod"), providers={"pod": Changing(POD)})
    found = await credentials.fetch(APP, TEAM, deadline=0)
    assert [one.username for one in found.credentials] == ["new", "person"]


async def test_a_provider_is_not_asked_where_it_is_not_granted() -> None:
    pod = Slow(POD)
    credentials = asked(CredentialSource("pod", namespaces=Globs(("other",))), providers={"pod": pod})
    assert await credentials.fetch(APP, TEAM, deadline=0) == candidates([], KEY)
    assert pod.fetched == 0


def test_a_principal_stands_for_a_secret_that_changes_and_never_for_another_ones() -> None:
    old, new = (Credential("ecr", "AWS", Secret(text), principal="eu-west-1") for text in ("one", "two"))
    lacking = Credential("ecr", principal="eu-west-1", lacks="no ecr login: AWS cannot be reached")
    (found,) = {candidates([one, ANONYMOUS], KEY).fingerprint for one in (old, new, lacking)}
    others = [
        [replace(old, principal="eu-west-2"), ANONYMOUS],
        [replace(old, kind="acr"), ANONYMOUS],
        [replace(old, principal=""), ANONYMOUS],
        [Credential("file", "ecr", Secret("eu-west-1")), ANONYMOUS],
        [old],
        [ANONYMOUS],
    ]
    fingerprints = [candidates(one, KEY).fingerprint for one in others]
    assert len({*fingerprints, found}) == len(others) + 1


def test_no_login_can_be_written_that_has_the_fingerprint_of_two_principals() -> None:
    two = [Credential("ecr", principal="eu-west-1"), Credential("acr", principal="shop.azurecr.io")]
    forged = Credential("pod", "ecr", Secret("eu-west-1"), Secret("acr"), Secret("shop.azurecr.io"))
    assert candidates(two, KEY).fingerprint != candidates([forged], KEY).fingerprint


async def test_one_that_is_missing_hides_nobody_who_comes_after_it() -> None:
    lacking = Slow(Credential("ecr", principal="eu-west-1", lacks="no ecr login"))
    credentials = asked(CredentialSource("ecr"), CredentialSource("anonymous"), providers={"ecr": lacking})
    await credentials.fetch(APP, TEAM, deadline=0)
    assert kinds(credentials) == [("ecr", ""), ("anonymous", "")]


def test_follows_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    credentials = asked(CredentialSource("file", file=logged_in(path, "old")))
    assert kinds(credentials) == [("file", "old")]
    logged_in(path, "new")
    assert kinds(credentials) == [("file", "old")]
    assert credentials.refresh()
    assert kinds(credentials) == [("file", "new")]
    assert not credentials.refresh()
    path.touch()
    assert not credentials.refresh()


def test_a_half_written_file_leaves_the_last_good_one_in_use(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    credentials = asked(CredentialSource("file", file=logged_in(path, "operator")))
    path.write_text(path.read_text()[:-3])
    assert not credentials.refresh()
    assert kinds(credentials) == [("file", "operator")]
    assert credentials.problems == (
        f"{path}: a docker config must be JSON, and this is not; what it held before is used on",
    )
    logged_in(path, "operator")
    assert not credentials.refresh()
    assert not credentials.problems


def test_a_file_that_is_taken_away_takes_its_credentials_along(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    credentials = asked(CredentialSource("file", file=logged_in(path, "operator")), CredentialSource("anonymous"))
    assert kinds(credentials) == [("file", "operator"), ("anonymous", "")]
    path.unlink()
    assert credentials.refresh()
    assert kinds(credentials) == [("anonymous", "")]
    assert credentials.problems == (f"{path}: cannot be read (No such file or directory); no credential comes from it",)
    logged_in(path, "operator")
    assert credentials.refresh()
    assert kinds(credentials) == [("file", "operator"), ("anonymous", "")]


def test_a_file_that_goes_on_for_ever_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    with path.open("wb") as hollow:
        hollow.truncate(MOST + 1)
    credentials = asked(CredentialSource("file", str(path)))
    assert kinds(credentials) == []
    assert credentials.problems == (f"{path}: cannot be read (File too large); no credential comes from it",)


def test_names_what_is_wrong_with_a_file_and_shows_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "docker.json"
    path.write_text(json.dumps({"auths": {"h.io": {"auth": marked("hunter2")}}, "credsStore": "desktop"}))
    credentials = asked(CredentialSource("file", file=str(path)))
    assert credentials.problems == (
        f"{path}: credsStore is used on the command line only",
        f"{path}: auths[h.io]: auth is not base64 of user:password",
    )


def test_what_it_remembers_is_bounded(tmp_path: Path) -> None:
    credentials = asked(CredentialSource("file", file=logged_in(tmp_path / "docker.json", "u")), entries=10)
    for number in range(100):
        assert kinds(credentials, APP, Audience(f"team-{number}")) == [("file", "u")]
    assert len(credentials._settled) <= 10


def test_names_of_secrets_count_by_their_length_in_what_is_remembered(tmp_path: Path) -> None:
    credentials = asked(CredentialSource("file", file=logged_in(tmp_path / "docker.json", "u")), entries=1000)
    for number in range(1000):
        names = tuple(f"{number}-{one}-{'x' * 240}" for one in range(33))
        assert kinds(credentials, APP, Audience("team", "", names)) == [("file", "u")]
    assert len(credentials._settled) <= 100


def test_the_server_cannot_start_a_credential_helper() -> None:
    program = "import sys, webhook.credentials.source; sys.exit('webhook.credentials.helpers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0
