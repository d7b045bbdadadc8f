"""Nothing that the configuration does not list is contacted: from the file to the socket, with a trap that must see no
connection, and a table of names that must not be looked up."""

from pathlib import Path
from typing import Final

import pytest

from tests.support.canary import marked
from tests.support.door import Names
from tests.support.faults import redirected, with_status
from tests.support.registry import PATH, FakeRegistry, fake_registry, trap_socket
from tests.support.stack import Answered, Stack
from webhook.config import load

HEAD: Final = "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\n"
OPEN: Final = "{{plainHTTP: true, allowLoopback: true}}"
TAG: Final = f"{PATH}:stable"

# Configuration, the image of a Pod, and the word for what comes of it. {trap} and {fake} are hosts with their ports.
UNLISTED: list[tuple[str, str, str, str]] = [
    ("a host that no rule names", "rules: [{{name: r, images: ['{fake}/**']}}]", "{trap}", ""),
    ("a host that only a pattern covers", "rules: [{{name: r, images: ['*/**']}}]", "{trap}", "HostNotListed"),
    ("the same under everything", "rules: [{{name: r, images: ['**']}}]", "{trap}", "HostNotListed"),
    (
        "a pattern of registries that does not cover it",
        "registries: {{'*.example.com': {{}}}}\nrules: [{{name: r, images: ['*/**']}}]",
        "{trap}",
        "HostNotListed",
    ),
    (
        "a pattern of registries that covers it, at an address inside",
        "registries: {{'127.0.0.*:{port}': {{plainHTTP: true}}}}\nrules: [{{name: r, images: ['*/**']}}]",
        "{trap}",
        "AddressRefused",
    ),
    (
        "the image's own host as upstream",
        "rules: [{{name: r, images: ['*/**'], upstream: ['{{registry}}/cache/{{path}}']}}]",
        "{trap}",
        "HostNotListed",
    ),
    (
        "the image's own host as second upstream",
        "registries: {{'{fake}': " + OPEN + "}}\n"
        "rules: [{{name: r, images: ['*/**'], upstream: ['{fake}/gone/{{path}}', '{{registry}}']}}]",
        "{trap}",
        "Unavailable",
    ),
    (
        "a listed host on loopback that was not meant to be there",
        "rules: [{{name: r, images: ['{trap}/**']}}]",
        "{trap}",
        "AddressRefused",
    ),
    (
        "another port of a listed host",
        "registries: {{'127.0.0.1': " + OPEN + "}}\nrules: [{{name: r, images: ['*/**', '127.0.0.1/**']}}]",
        "{trap}",
        "HostNotListed",
    ),
    (
        "a number that some take for an address",
        "registries: {{'2130706433:{port}': " + OPEN + "}}\nrules: [{{name: r, images: ['2130706433:{port}/**']}}]",
        "2130706433:{port}",
        "AddressRefused",
    ),
    (
        "metadata, however it is listed",
        "registries: {{'169.254.169.254': " + OPEN + "}}\nrules: [{{name: r, images: ['169.254.169.254/**']}}]",
        "169.254.169.254",
        "AddressRefused",
    ),
]


class Place:
    """A registry, a trap, and what a configuration makes of a Pod."""

    def __init__(self, folder: Path, fake: FakeRegistry, trap: str) -> None:
        self.file = folder / "moorage.yaml"
        self.fake = fake
        self.names = Names({})
        self.words = {"fake": fake.host, "trap": trap, "port": trap.rpartition(":")[2]}

    async def admit(self, config: str, *images: str) -> Answered:
        self.file.write_text(HEAD + config.format(**self.words))
        loaded = load(self.file, environ={})
        stack = Stack(*loaded.rules.rules, targets=loaded.rules.targets)
        await stack.open([*loaded.registries.literal.values(), *loaded.registries.patterns], self.names)
        try:
            return await stack.admit(*(image.format(**self.words) for image in images))
        finally:
            await stack.close()


@pytest.mark.parametrize(("config", "host", "word"), [row[1:] for row in UNLISTED], ids=[row[0] for row in UNLISTED])
async def test_a_host_that_is_not_listed_gets_no_packet(config: str, host: str, word: str, tmp_path: Path) -> None:
    with trap_socket() as trap:
        async with fake_registry() as fake:
            fake.faults["manifest"] = with_status(503)
            place = Place(tmp_path, fake, trap.host)
            seen = await place.admit(config, f"{host}/{TAG}")
        assert seen.images == [f"{host}/{TAG}".format(**place.words)]
        assert [text.partition("(")[2].partition(")")[0] for text in seen.warnings] == ([word] if word else [])
        assert trap.connections == 0
        assert place.names.asked == []


async def test_a_name_that_is_not_listed_is_not_even_looked_up(tmp_path: Path) -> None:
    async with fake_registry() as fake:
        place = Place(tmp_path, fake, "evil.example:443")
        seen = await place.admit("rules: [{{name: r, images: ['*/**', 'listed.example/**']}}]", f"evil.example/{TAG}")
        assert "HostNotListed" in seen.warnings[0]
        assert "add registries.evil.example: {}" in seen.warnings[0]
        assert place.names.asked == []
        await place.admit("rules: [{{name: r, images: ['*/**', 'listed.example/**']}}]", f"listed.example/{TAG}")
        assert set(place.names.asked) == {"listed.example"}


RULE: Final = "rules: [{{name: r, images: ['{fake}/**'], targets: [t]}}]"
LISTED: Final = "registries: {{'{fake}': " + OPEN + "}}\n"


@pytest.mark.parametrize(
    ("target", "word"),
    [
        # A cache on the node is written and never asked.
        ("{{image: '{trap}/{{path}}'}}", ""),
        # Where it is to be asked, loopback has to be allowed as for any host.
        ("{{image: '{trap}/{{path}}', verify: digest}}", "TargetNotAsked"),
        ("{{image: 'cache.example/{{path}}', verify: {{at: 'http://{trap}/{{path}}'}}}}", "TargetNotAsked"),
        ("{{image: 'cache.example/{{path}}', verify: {{at: 'http://169.254.169.254/{{path}}'}}}}", "TargetNotAsked"),
    ],
    ids=["on the node", "on the node, verified", "where the webhook can ask", "metadata"],
)
async def test_a_target_that_was_not_meant_to_be_asked_gets_no_packet(target: str, word: str, tmp_path: Path) -> None:
    with trap_socket() as trap:
        async with fake_registry() as fake:
            digest = fake.push()
            place = Place(tmp_path, fake, trap.host)
            seen = await place.admit(f"targets: {{{{t: {target}}}}}\n{LISTED}{RULE}", f"{fake.host}/{TAG}")
        host = fake.host if word else trap.host
        assert (seen.images, seen.warnings) == ([f"{host}/{PATH}@{digest}"], [])
        assert trap.connections == 0


async def test_a_target_named_by_hand_is_not_asked_whether_it_holds_the_digest(tmp_path: Path) -> None:
    with trap_socket() as trap:
        async with fake_registry() as fake:
            digest = fake.push()
            place = Place(tmp_path, fake, trap.host)
            seen = await place.admit(
                "targets: {{t: {{image: '{trap}/{{path}}', guard: refuse}}}}\n" + LISTED + RULE,
                f"{trap.host}/{PATH}@{digest}",
                f"{trap.host}/other@{digest}",
            )
        assert not seen.allowed
        assert "NamedByHand" in seen.refusal
        assert [one.path.rpartition("/manifests/")[0] for one in fake.asked] == [f"/v2/{PATH}", "/v2/other"]
        assert trap.connections == 0


REALMS: Final = ["http://{trap}/token", "https://{trap}/token", "//{trap}/token", "http://169.254.169.254/token"]


@pytest.mark.parametrize("place_of", REALMS)
async def test_neither_does_a_realm_nor_a_redirect_lead_elsewhere(place_of: str, tmp_path: Path) -> None:
    with trap_socket() as trap:
        async with fake_registry() as fake:
            where = place_of.format(trap=trap.host)
            place = Place(tmp_path, fake, trap.host)
            for fault in (
                with_status(401, ("WWW-Authenticate", f'Bearer realm="{where}",service="s"')),
                redirected(where),
            ):
                fake.faults["manifest"] = fault
                seen = await place.admit(LISTED + RULE.replace(", targets: [t]", ""), f"{fake.host}/{TAG}")
                assert seen.images == [f"{fake.host}/{TAG}"]
                assert any(word in seen.warnings[0] for word in ("LoginRefused", "HostNotListed"))
            assert {asked.purpose for asked in fake.asked} == {"manifest"}
        assert trap.connections == 0


async def test_an_environment_full_of_proxies_and_logins_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trap_socket() as trap:
        async with fake_registry() as fake:
            digest = fake.push()
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, f"http://{trap.host}")
                monkeypatch.setenv(name.upper(), f"http://{trap.host}")
            (tmp_path / ".netrc").write_text(f"default login somebody password {marked('hunter2')}\n")
            monkeypatch.setenv("HOME", str(tmp_path))
            monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
            place = Place(tmp_path, fake, trap.host)
            seen = await place.admit(LISTED + RULE.replace(", targets: [t]", ""), f"{fake.host}/{TAG}")
            assert seen.images == [f"{fake.host}/{PATH}@{digest}"]
            assert [asked.header("Authorization") for asked in fake.asked] == [None]
        assert trap.connections == 0
