"""Places and targets: what a template gives is read again as the very same place, and a host has many spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.names import IMAGES
from webhook.core.reference import BadReference, Reference, is_digest
from webhook.core.targets import Place, Target, find_target, places_of

PARTS = st.sampled_from(["", "mirror/", "a/b/", "x-", "0__", "-", "UPPER/", "{registry}/", f"{'long/' * 40}"])
TEMPLATES = st.builds(
    "{}/{}{}{}".format,
    st.sampled_from(["localhost:30081", "eu.example.net", "docker.io", "[::1]:5000", "mirror", "LOCAL", "{registry}"]),
    PARTS,
    st.sampled_from(["{path}", "{repository}", "{path}/{path}"]),
    st.sampled_from(["", "-x", "/y", "_"]),
)


@given(TEMPLATES, IMAGES)
def test_what_a_place_gives_is_read_again_as_the_same_host_path_tag_and_digest(template: str, image: Reference) -> None:
    written = template
    for name, value in (("registry", image.registry), ("path", image.path), ("repository", image.repository)):
        written = written.replace(f"{{{name}}}", value)
    try:
        placed = Place(template).fill(image)
    except BadReference:
        return
    assert placed == Reference.parse(str(placed))
    assert (placed.repository, placed.tag, placed.digest) == (written, image.tag, image.digest)
    assert placed.digest is None or is_digest(placed.digest)


@given(TEMPLATES, IMAGES)
def test_a_place_knows_the_image_that_it_gave_a_name_to(template: str, image: Reference) -> None:
    place = Place(template)
    try:
        placed = place.fill(image)
    except BadReference:
        return
    if place.host != "{registry}":
        assert image in place.origins(placed, (image.registry,))


CACHE = Target("cache", Place("localhost:30081/mirror/{path}"), pull="anonymous", guard="refuse")
NAMED = Target("named", Place("cache.example.net/{path}"), pull="anonymous", guard="refuse")
LOCALHOSTS = [
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "kraken.localhost",
    "127.0.0.1",
    "127.9.9.9",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "017700000001",
    "2130706433",
    "0.0.0.0",
    "0",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:7f00:1]",
    "[::]",
]
OTHERS = [
    "localhost5",
    "127.example.net",
    "10.0.0.1",
    "128.0.0.1",
    "0.0.0.1",
    "08.1",
    "127.0.0.256",
    "1.127.0.0.1",
    "[::2]",
]


@pytest.mark.parametrize("host", LOCALHOSTS)
@pytest.mark.parametrize("port", ["30081", "030081", "00000030081"])
def test_loopback_is_recognised_under_every_name_that_ends_there(host: str, port: str) -> None:
    assert find_target((CACHE,), Reference(f"{host}:{port}", "mirror/team/app")) is CACHE


@pytest.mark.parametrize("host", OTHERS)
def test_and_under_no_other(host: str) -> None:
    assert find_target((CACHE,), Reference(f"{host}:30081", "mirror/team/app")) is None


@pytest.mark.parametrize(
    ("image", "is_there"),
    [
        ("localhost:30082/mirror/team/app", False),
        ("localhost:130081/mirror/team/app", False),
        ("localhost/mirror/team/app", False),
        ("localhost:30081/mirrors/team/app", False),
        ("localhost:30081/team/app", False),
        ("cache.example.net/team/app", True),
        ("cache.example.net:443/team/app", True),
        ("cache.example.net:0443/team/app", True),
        ("CACHE.example.NET/team/app", True),
        ("cache.example.net:80/team/app", False),
        ("cache.example.net:5000/team/app", False),
        ("cache.example.net.evil.test/team/app", False),
    ],
)
def test_a_target_is_its_host_port_and_prefix(image: str, is_there: bool) -> None:
    assert (find_target((CACHE, NAMED), Reference.parse(image)) is not None) is is_there


def test_a_place_that_cannot_hold_a_name_is_left_out() -> None:
    image = Reference("registry.example.com", "a" * 250, "stable")
    places = (Place("up.example.com/long/prefix/{path}"), Place("spare.example.com/{path}"))
    assert places_of(places, image) == (Reference("spare.example.com", "a" * 250, "stable"),)
