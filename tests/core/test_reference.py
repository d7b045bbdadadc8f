"""Image names are read as containerd and the kubelet read them.

Rows are named after the tables of distribution/reference v0.6.0 that hold them (normalize_test.go, reference_test.go);
rows under "trap" are names that other parsers read wrongly, checked against that library itself.
"""

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.core.names import IMAGES
from tests.parts import part
from webhook.core.reference import (
    MAX_PATH,
    BadReference,
    Reference,
    is_dialable,
    is_digest,
    is_host,
    looks_like_host,
    parsed,
)
from webhook.core.targets import Place

HEX = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"
SHA256 = "sha256:" + "f" * 64
SHA384 = "sha384:" + "0" * 96
SHA512 = "sha512:" + "f" * 128
LONG_TEXT = "this_is_not_a_valid_namespace_because_its_length_is_greater_than_255_" * 4

VALID = [
    # normalize_test.go, TestValidateReferenceName
    ("docker/docker", "docker.io", "docker/docker", None, None),
    ("library/debian", "docker.io", "library/debian", None, None),
    ("debian", "docker.io", "library/debian", None, None),
    ("localhost/library/debian", "localhost", "library/debian", None, None),
    ("localhost/debian", "localhost", "debian", None, None),
    ("LOCALDOMAIN/library/debian", "LOCALDOMAIN", "library/debian", None, None),
    ("LOCALDOMAIN/debian", "LOCALDOMAIN", "debian", None, None),
    ("docker.io/docker/docker", "docker.io", "docker/docker", None, None),
    ("docker.io/library/debian", "docker.io", "library/debian", None, None),
    ("docker.io/debian", "docker.io", "library/debian", None, None),
    ("index.docker.io/docker/docker", "docker.io", "docker/docker", None, None),
    ("index.docker.io/library/debian", "docker.io", "library/debian", None, None),
    ("index.docker.io/debian", "docker.io", "library/debian", None, None),
    ("127.0.0.1:5000/docker/docker", "127.0.0.1:5000", "docker/docker", None, None),
    ("127.0.0.1:5000/debian", "127.0.0.1:5000", "debian", None, None),
    ("192.168.0.1", "docker.io", "library/192.168.0.1", None, None),
    ("192.168.0.1:80", "docker.io", "library/192.168.0.1", "80", None),
    ("192.168.0.1:8/debian", "192.168.0.1:8", "debian", None, None),
    ("192.168.0.2:25000/debian", "192.168.0.2:25000", "debian", None, None),
    ("[fc00::1]:5000/docker", "[fc00::1]:5000", "docker", None, None),
    ("[fc00::1]:5000/docker/docker", "[fc00::1]:5000", "docker/docker", None, None),
    ("[fc00:1:2:3:4:5:6:7]:5000/library/debian", "[fc00:1:2:3:4:5:6:7]:5000", "library/debian", None, None),
    (f"docker.io/{HEX}", "docker.io", f"library/{HEX}", None, None),
    ("Docker/docker", "Docker", "docker", None, None),
    ("DOCKER/docker", "DOCKER", "docker", None, None),
    # normalize_test.go, TestValidateRemoteName
    ("thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev", "docker.io",
     "library/thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev", None, None),
    ("docker-rules/docker", "docker.io", "docker-rules/docker", None, None),
    ("docker---rules/docker", "docker.io", "docker---rules/docker", None, None),
    ("doc/docker", "docker.io", "doc/docker", None, None),
    ("d/docker", "docker.io", "d/docker", None, None),
    ("jess/t", "docker.io", "jess/t", None, None),
    ("dock__er/docker", "docker.io", "dock__er/docker", None, None),
    # normalize_test.go, TestParseRepositoryInfo
    ("localhost/fooo/bar", "localhost", "fooo/bar", None, None),
    ("index.docker.io/fooo/bar", "docker.io", "fooo/bar", None, None),
    ("nonlibrary/ubuntu", "docker.io", "nonlibrary/ubuntu", None, None),
    ("other/library", "docker.io", "other/library", None, None),
    ("127.0.0.1:8000/private/moonbase", "127.0.0.1:8000", "private/moonbase", None, None),
    ("example.com/privatebase", "example.com", "privatebase", None, None),
    ("example.com:8000/private/moonbase", "example.com:8000", "private/moonbase", None, None),
    ("index.docker.io/library/ubuntu-12.04-base", "docker.io", "library/ubuntu-12.04-base", None, None),
    ("library/foo/bar", "docker.io", "library/foo/bar", None, None),
    ("store/foo/bar", "docker.io", "store/foo/bar", None, None),
    ("Foo/bar", "Foo", "bar", None, None),
    # normalize_test.go, TestParseReferenceWithTagAndDigest, TestParseAnyReference, TestNormalizedSplitHostname
    (f"busybox:latest@{SHA256}", "docker.io", "library/busybox", "latest", SHA256),
    ("redis:latest", "docker.io", "library/redis", "latest", None),
    (f"dmcgowan/myapp@{SHA256}", "docker.io", "dmcgowan/myapp", None, SHA256),
    (HEX[:63], "docker.io", f"library/{HEX[:63]}", None, None),
    ("test_com/foo", "docker.io", "test_com/foo", None, None),
    ("test-com:8080/foo", "test-com:8080", "foo", None, None),
    ("xn--n3h.com:18080/foo", "xn--n3h.com:18080", "foo", None, None),
    # reference_test.go, TestReferenceParse (names here pass the normalising on top)
    ("test_com", "docker.io", "library/test_com", None, None),
    ("test.com:tag", "docker.io", "library/test.com", "tag", None),
    ("test.com:5000", "docker.io", "library/test.com", "5000", None),
    ("test.com/repo:tag", "test.com", "repo", "tag", None),
    ("test:5000/repo:tag", "test:5000", "repo", "tag", None),
    (f"test:5000/repo@{SHA256}", "test:5000", "repo", None, SHA256),
    (f"test:5000/repo:tag@{SHA256}", "test:5000", "repo", "tag", SHA256),
    ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", None),
    ("sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux", "some-long-tag", None),
    ("b.gcr.io/test.example.com/my-app:example.com", "b.gcr.io", "test.example.com/my-app", "example.com", None),
    (f"xn--7o8h.com/myimage:xn--7o8h.com@{SHA512}", "xn--7o8h.com", "myimage", "xn--7o8h.com", SHA512),
    ("foo_bar.com:8080", "docker.io", "library/foo_bar.com", "8080", None),
    ("foo/foo_bar.com:8080", "docker.io", "foo/foo_bar.com", "8080", None),
    ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050", None),
    ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", None, None),
    ("[2001:db8::1]:5000/repo:tag", "[2001:db8::1]:5000", "repo", "tag", None),
    (f"[2001:db8::1]:5000/repo:tag@{SHA256}", "[2001:db8::1]:5000", "repo", "tag", SHA256),
    ("[::1]:5000/repo", "[::1]:5000", "repo", None, None),
    ("Uppercase/lowercase:tag", "Uppercase", "lowercase", "tag", None),
    (f"example.com/{'a' * 255}:tag", "example.com", "a" * 255, "tag", None),
    # trap: a digest alone is read as a tag of library/sha256
    (f"sha256:{HEX}", "docker.io", "library/sha256", HEX, None),
    # trap: names that look like a host and are none, and the reverse
    ("localhost:5000", "docker.io", "library/localhost", "5000", None),
    ("localhost", "docker.io", "library/localhost", None, None),
    ("example.com", "docker.io", "library/example.com", None, None),
    ("LOCAL/x", "LOCAL", "x", None, None),
    ("127.1/x", "127.1", "x", None, None),
    ("registry-1.docker.io/library/x", "registry-1.docker.io", "library/x", None, None),
    ("registry-1.docker.io/x", "registry-1.docker.io", "x", None, None),
    ("index.docker.io:443/x", "index.docker.io:443", "x", None, None),
    ("example.com:99999/x", "example.com:99999", "x", None, None),
    ("a.b/c:_", "a.b", "c", "_", None),
    (f"{HEX}:tag", "docker.io", f"library/{HEX}", "tag", None),
    (f"x@{SHA384}", "docker.io", "library/x", None, SHA384),
    (f"x:{'t' * 128}", "docker.io", "library/x", "t" * 128, None),
    # trap: the 255 count the path with library/, not the host (v0.6.0)
    ("docker.io/" + "a" * 247, "docker.io", "library/" + "a" * 247, None, None),
    (f"{'h' * 60}.example.com/{'a' * 255}", f"{'h' * 60}.example.com", "a" * 255, None, None),
]  # fmt: skip

INVALID = [
    # normalize_test.go, TestValidateReferenceName
    "https://github.com/docker/docker",
    "docker/Docker",
    "-docker",
    "-docker/docker",
    "-docker.io/docker/docker",
    "docker///docker",
    "docker.io/docker/Docker",
    "docker.io/docker///docker",
    "[fc00::1]",
    "[fc00::1]:5000",
    "fc00::1:5000/debian",
    "[fe80::1%eth0]:5000/debian",
    "[2001:db8:3:4::192.0.2.33]:5000/debian",
    HEX,
    # normalize_test.go, TestValidateRemoteName
    "docker-/docker",
    "-docker-/docker",
    "____/____",
    "_docker/_docker",
    "dock..er/docker",
    "dock_.er/docker",
    "dock-.er/docker",
    "docker/",
    f"{LONG_TEXT}/docker",
    # reference_test.go, TestReferenceParse
    "",
    ":justtag",
    f"@{SHA256}",
    "repo@sha256:" + "f" * 34,
    "validname@invaliddigest:" + "f" * 64,
    "Uppercase:tag",
    "test:5000/Uppercase/lowercase:tag",
    "domain/" + "a" * 256 + ":tag",
    "aa/asdf$$^/aa",
    "[2001:db8::1]:tag",
    "[fe80::1%@invalidzone]:5000/repo",
    # trap: distribution/reference gives these an empty host; containerd's second parser guesses another one
    "h_o.io/x",
    "foo_bar.com/x:tag",
    # trap: Python's `$` and `\w`, blanks, Unicode
    "repo:tag\n",
    "repo\n",
    " repo",
    "repo ",
    "repo:täg",
    "rëpo",
    "exämple.com/x",
    "٣.example.com/x",
    "repo:٣",
    "\u212a/x",
    # trap: things that are no name at all
    "user:pw@example.com/x",
    "h.io./x",
    ".h.io/x",
    "example.com:/x",
    "example.com/",
    "/x",
    "x:",
    "x@",
    "x:tag:tag",
    "x/../y",
    "x/.y",
    "x___y",
    f"x:{'t' * 129}",
    "x:-tag",
    "x:.tag",
    # trap: digests (go-digest wants a known algorithm, lower-case hexadecimal, full length)
    "x@sha256:" + "F" * 64,
    "x@SHA256:" + "f" * 64,
    "x@sha256:" + "f" * 63,
    "x@sha256:" + "f" * 65,
    "x@md5:" + "f" * 32,
    "x@sha512:" + "f" * 64,
    f"x@{SHA256}@{SHA256}",
    f"x@{SHA256}:tag",
    # trap: library/ makes 256
    "docker.io/" + "a" * 248,
    "a" * 5000,
]


@pytest.mark.parametrize(("text", "registry", "path", "tag", "digest"), VALID, ids=[row[0][:60] for row in VALID])
def test_reads(text: str, registry: str, path: str, tag: str | None, digest: str | None) -> None:
    image = Reference.parse(text)
    assert image == Reference(registry, path, tag, digest)
    assert Reference.parse(str(image)) == image


@pytest.mark.parametrize("text", INVALID, ids=[repr(text[:60]) for text in INVALID])
def test_refuses(text: str) -> None:
    with pytest.raises(BadReference) as caught:
        Reference.parse(text)
    assert caught.value.text == text
    assert caught.value.why
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the name is empty"),
        ("repo:tag\n", "blanks around the name"),
        ("https://h.io/x", "leave the scheme out"),
        ("docker/Docker", "the path must be lower-case"),
        ("h_o.io/x", "'h_o.io' is no registry host"),
        ("rëpo", "only ASCII characters"),
        (HEX, "could be an image ID"),
        ("docker.io/" + "a" * 248, "more than 255 characters"),
        ("x@sha256:" + "F" * 64, "lower-case hexadecimal"),
        ("a" * 5000, "more than 1024 characters"),
    ],
)
def test_says_why_it_refuses(text: str, why: str) -> None:
    with pytest.raises(BadReference, match=why):
        Reference.parse(text)


def test_keeps_doubt_as_a_value() -> None:
    assert parsed("nginx") == Reference("docker.io", "library/nginx")
    bad = parsed("h_o.io/x")
    assert isinstance(bad, BadReference)
    assert parsed("h_o.io/x") is bad


def test_changes_make_new_values() -> None:
    image = Reference.parse("example.com/team/app:stable")
    assert str(image.pinned(SHA256)) == f"example.com/team/app@{SHA256}"
    assert str(image.pinned(SHA256, keep_tag=True)) == f"example.com/team/app:stable@{SHA256}"
    assert str(image.moved_to("localhost:30081", "app")) == "localhost:30081/app:stable"
    assert image.repository == "example.com/team/app"
    assert (image.floating, Reference.parse("x").floating) == ("stable", "latest")


@pytest.mark.parametrize("text", ["example.com", "localhost:5000", "LOCAL", "[::1]:5000", "a", "127.1"])
def test_knows_a_host(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize("text", ["", "h_o.io", "h.io.", "-h", "example.com/x", "h:port", "example.com\n", "[::1%lo]"])
def test_knows_what_is_no_host(text: str) -> None:
    assert not is_host(text)


@pytest.mark.parametrize(
    ("host", "dialable"),
    [
        ("example.com", True),
        ("example.com:1", True),
        ("example.com:65535", True),
        ("example.com:0443", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("example.com:0", False),
        ("example.com:65536", False),
        ("example.com:99999", False),
        ("[::1]:99999", False),
        (f"example.com:{'9' * 400}", False),
    ],
)
def test_tells_ports_that_do_not_exist(host: str, *, dialable: bool) -> None:
    assert is_host(host)
    assert is_dialable(host) is dialable


@pytest.mark.parametrize(
    ("segment", "host"), [("localhost", True), ("a.b", True), ("a:1", True), ("A", True), ("a", False)]
)
def test_tells_hosts_from_path_parts(segment: str, *, host: bool) -> None:
    assert looks_like_host(segment) is host


@pytest.mark.parametrize("text", [SHA256, SHA384, SHA512])
def test_knows_a_digest(text: str) -> None:
    assert is_digest(text)


@pytest.mark.parametrize(
    "text", ["", "sha256:", "f" * 64, SHA256 + "\n", SHA256.upper(), SHA256 + "f", "sha1:" + "f" * 40]
)
def test_knows_what_is_no_digest(text: str) -> None:
    assert not is_digest(text)


# From here on: names made up, near the grammar.

_near = st.text("aAzZ019._-:/@[]é \n", max_size=24)


@given(IMAGES)
def test_what_is_printed_reads_the_same(image: Reference) -> None:
    assert Reference.parse(str(image)) == image


@given(IMAGES, IMAGES)
def test_what_is_moved_reads_as_the_place_it_was_moved_to(image: Reference, place: Reference) -> None:
    moved = image.moved_to(place.registry, place.path)
    again = Reference.parse(str(moved))
    assert (again.registry, again.path) == (place.registry, place.path)
    assert (again.tag, again.digest) == (image.tag, image.digest)


@given(_near | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        image = Reference.parse(text)
    except BadReference:
        return
    assert Reference.parse(str(image)) == image
    assert is_host(image.registry)
    assert 0 < len(image.path) <= MAX_PATH
    assert image.digest is None or is_digest(image.digest)


@given(IMAGES, st.sampled_from(["\n", " ", "é", "\0", "\u2028"]), st.integers(0, 200))
def test_one_foreign_character_anywhere_spoils_a_name(image: Reference, foreign: str, at: int) -> None:
    text = str(image)
    assume(at <= len(text))
    with pytest.raises(BadReference):
        Reference.parse(text[:at] + foreign + text[at:])


# And the judge: distribution/reference itself.


def unique(texts: Iterator[str]) -> Iterator[str]:
    """Each text once."""
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _made_up(seed: int) -> Iterator[str]:
    """Names near the grammar: pieces of real ones put together, then a few characters spoilt."""
    dice = random.Random(seed)
    hosts = [
        *["", "", "localhost/", "localhost:5000/", "example.com/", "Docker/", "a/", "docker.io/", "index.docker.io/"],
        *["[::1]:5000/", "[fe80::1]/", "h_o.io/", "127.1:80/", "x.y.z:99999/", "xn--n3h.com/", "-h/", "h./", "h:/"],
    ]
    names = ["a", "app", "library", "a.b", "a_b", "a__b", "a---b", "0", HEX, HEX[:63], "test_com", "e" * 120]
    words = [*names * 4, "A", "a..b", "a___b", "-a", "a-"]
    tags = [*["", "", ":latest", ":1.2.3", ":_", ":" + "t" * 128] * 3, ":-x", ":" + "t" * 129, ":a:b", ":", ":Ü"]
    sound = ["", "", "", f"@{SHA256}", f"@{SHA384}", f"@{SHA512}"]
    digests = [*sound * 4, f"@{SHA256.upper()}", f"@{SHA256[:-1]}", "@md5:" + "f" * 32, "@", "@a+b.c:" + "f" * 64]
    junk = "aA0._-:/@[] \n\té%+"
    while True:
        path = "/".join(dice.choice(words) for _ in range(dice.choice((1, 1, 2, 3))))
        text = dice.choice(hosts) + path + dice.choice(tags) + dice.choice(digests)
        for _ in range(dice.choice((0, 0, 0, 0, 1, 2))):
            at = dice.randrange(len(text) + 1)
            text = text[:at] + dice.choice(junk) + text[at + dice.choice((0, 1)) :]
        yield text


def _asked(texts: list[str]) -> list[dict[str, str]]:
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    told = subprocess.run([part("oracle")], input=lines, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in told.stdout.splitlines()]


def _expected(answer: dict[str, str]) -> Reference | None:
    # An empty registry is a name that the library reads but no client could place: we refuse it.
    if answer["error"] or not answer["registry"]:
        return None
    return Reference(answer["registry"], answer["path"], answer["tag"] or None, answer["digest"] or None)


def _read(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except BadReference:
        return None


FUZZED = 100_000
TEMPLATES = [
    "localhost:30081/{path}",
    "localhost:30081/{repository}",
    "eu.example.net/mirror/{path}",
    "eu.example.net/{registry}/{path}",
    "{registry}/cache/{path}",
    "docker.io/{path}",
    "index.docker.io/{path}",
    "[::1]:5000/x-{path}",
    "Mirror/{path}",
    "mirror/{path}",
    f"eu.example.net/{'long/' * 40}{{path}}",
]


@pytest.mark.parts
def test_agrees_with_the_library_of_the_kubelet() -> None:
    rows = [*(row[0] for row in VALID), *(text for text in INVALID if len(text) < 1024)]
    texts = list(dict.fromkeys([*rows, *islice(unique(_made_up(seed=20241124)), FUZZED)]))
    answers = [_expected(answer) for answer in _asked(texts)]
    assert [text for text, answer in zip(texts, answers, strict=True) if _read(text) != answer] == []
    assert len(texts) >= FUZZED
    assert min(sum(answer is None for answer in answers), sum(answer is not None for answer in answers)) > FUZZED / 10
    printed = [str(answer) for answer in answers if answer is not None]
    assert [str(_expected(answer)) for answer in _asked(printed)] == printed


@pytest.mark.parts
def test_what_is_written_for_a_target_is_the_same_place_to_the_library_of_the_kubelet() -> None:
    images = [image for image in map(_read, islice(_made_up(seed=7), 8_000)) if image is not None]
    placed = list(_placed(images))
    assert len(placed) > 10_000
    told = [_expected(answer) for answer in _asked([str(one) for one in placed])]
    assert [(one, other) for one, other in zip(placed, told, strict=True) if one != other] == []


def _placed(images: list[Reference]) -> Iterator[Reference]:
    for image in images:
        for template in TEMPLATES:
            with suppress(BadReference):
                yield Place(template).fill(image)
