"""What is fuzzed: each reader of a text that somebody else writes, what it may raise, and what its inputs are made of."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.core.world import NOON, PRIVATE, SEALER, D
from webhook.config import BadConfiguration, load
from webhook.core.admission import BadReview, decode, untouched
from webhook.core.annotation import IMAGES, is_ours, source_of
from webhook.core.annotation import read as read_annotation
from webhook.core.challenge import Response, choose, read_token, realm_url
from webhook.core.hosts import Registry
from webhook.core.jwt import life
from webhook.core.manifest import OCI_INDEX, body_proof, contents_of, platform_of
from webhook.core.pins import PREFIX, judge
from webhook.core.plan import plan
from webhook.core.reference import BadReference, Reference, is_dialable, is_host
from webhook.core.revision import Revision
from webhook.core.rules import RuleSet
from webhook.core.warning import texts
from webhook.credentials.keyring import AuthFile, BadDockerConfig, Keyring
from webhook.document import BadDocument, Document, documents
from webhook.document import decode as decode_text
from webhook.splice import Change, apply, splice

CORPUS: Final = Path(__file__).parent / "corpus"
_RULES: Final = RuleSet((PRIVATE,))
_HOST: Final = "registry.example.com"
_DEEP: Final = 8
_NEW: Final = f"localhost:30081/app@{D}"


class Target(msgspec.Struct, frozen=True):
    """One reader. `run` gives it an input and checks what must hold of the outcome; `allowed` is all that it may raise.
    `words` are what its inputs are made of, `most` the bytes that the door before it lets through, `keys` those of its JSON
    where it reads JSON."""

    name: str
    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    words: tuple[bytes, ...]
    most: int
    keys: tuple[str, ...] = ()

    def corpus(self) -> dict[str, bytes]:
        """The inputs that are kept, by the name of their file."""
        return _kept(self.name)

    def inputs(self) -> SearchStrategy[bytes]:
        """What is kept with changes, its words in any order, JSON of its keys, and anything."""
        words = st.sampled_from(self.words)
        ways = [
            mutated(tuple(self.corpus().values()), self.words),
            st.lists(words | st.binary(max_size=2), max_size=24).map(b"".join),
            st.binary(max_size=64),
        ]
        if self.keys:
            ways.append(json_of(self.keys, self.words))
        return st.one_of(ways)


@cache
def _kept(name: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((CORPUS / name).glob("*"))}


@st.composite
def mutated(draw: st.DrawFn, kept: tuple[bytes, ...], words: tuple[bytes, ...]) -> bytes:
    """An input of the corpus with some of it replaced."""
    data = draw(st.sampled_from(kept))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 24)))
        data = data[:start] + draw(st.sampled_from((b"", *words)) | st.binary(max_size=3)) + data[end:]
    return data


def json_of(keys: tuple[str, ...], words: tuple[bytes, ...]) -> SearchStrategy[bytes]:
    """Any JSON whose keys are mostly these."""
    text = st.sampled_from([word.decode("latin-1") for word in words]) | st.text(max_size=6)
    leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    names = st.sampled_from(keys) | text
    tree = st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5), max_leaves=24
    )
    return tree.map(lambda value: json.dumps(value).encode())


def _reference(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    is_host(text)
    found = Reference.parse(text)
    assert Reference.parse(str(found)) == found
    assert is_host(found.registry)
    is_dialable(found.registry)


def _challenge(data: bytes) -> None:
    lines = tuple(data.decode("latin-1").split("\n"))
    found = choose(Response(401, {"www-authenticate": lines}))
    if found is not None and found.realm:
        place = realm_url(found, f"https://{_HOST}/v2/a/manifests/b", Registry(_HOST))
        assert not isinstance(place, str) or place.startswith(f"https://{_HOST}")


def _warning(data: bytes) -> None:
    assert all(text.isascii() and text.isprintable() for text in texts(data.decode("latin-1").split("\n")))


def _token(data: bytes) -> None:
    read_token(data)
    life(data.decode("latin-1"), 1_800_000_000.0)


def _review(data: bytes) -> None:
    found = decode(data, NOON)
    json.loads(untouched(found))
    if found.subject is not None:
        plan(found.subject, _RULES, sealer=SEALER, milliseconds=NOON)


def _docker_config(data: bytes) -> None:
    for logins in (Keyring.from_docker_config(data), AuthFile.from_auth_json(data)):
        for image in (f"{_HOST}/team/app", "docker.io/library/nginx"):
            for one in logins.lookup(image):
                one.password.reveal().encode()


def _manifest(data: bytes) -> None:
    for stated in (OCI_INDEX, "application/json"):
        answer = Response(200, {"content-type": (stated,)}, data)
        body_proof(answer, None)
        body_proof(answer, D)
        found = contents_of(answer)
        getattr(found, "child_for", str)("linux/arm64")
    platform_of(data, f"sha256:{sha256(data).hexdigest()}")


def _configuration(data: bytes) -> None:
    with NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(data)
        load(Path(file.name), environ={})


def _splice(data: bytes) -> None:
    """Change the first text of each document, then the second and the third; what comes out says what was wanted."""
    text = decode_text(data, "f")
    found = [one for one in documents(text, "f") if isinstance(one, Document)]
    ways = [list(islice(_pointers(one.value()), 3)) for one in found]
    for turn in range(3):
        changes: list[Change] = []
        wanted: list[str] = []
        for document, pointers in zip(found, ways, strict=True):
            with suppress(BadDocument):
                changes += splice(document, dict.fromkeys(pointers[turn : turn + 1], _NEW))
                wanted += pointers[turn : turn + 1]
        again = (one for one in documents(apply(text, changes), "f") if isinstance(one, Document))
        # In the order of the documents: none takes another's place.
        assert all(any(one.find(pointer)[0].value == _NEW for one in again) for pointer in wanted)


def _pointers(value: Any, at: str = "", depth: int = 0) -> Iterator[str]:
    """Ways to the texts of a document, not the deepest."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, str):
        yield at
    for key, one in inner if depth < _DEEP else ():
        yield from _pointers(one, f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}", depth + 1)


def _annotation(data: bytes) -> None:
    text = data.decode(errors="ignore")
    images = read_annotation({IMAGES: text})
    assert not is_ours(images, "default", "u", SEALER)
    for one in images.images.values():
        source_of(one)
    key, _, value = text.partition("\n")
    written = {f"{PREFIX}{key}": value, f"{PREFIX}abc.{NOON}": text}
    held = Revision("ReplicaSet", "shop", "web-abc", "abc", annotations=written, created=NOON)
    assert not any(one.sealed for one in judge(held, SEALER).images.values())


_JSON: Final = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"null",
    b"0",
    b"-1",
    b"1e400",
    b"9" * 400,
    b"\\ud800",
    b"{}",
    b"[]",
)
_YAML: Final = (
    b"\n",
    b"  ",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"---\n",
    b"...\n",
    b"%YAML 1.1\n",
    b"|\n",
    b">-\n",
    b"'",
    b'"',
)
_YAML_MORE: Final = (
    b"!!str ",
    b"!!int ",
    b"#",
    b"\t",
    b"\r\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"? ",
    b"\xef\xbb\xbf",
    b"\x85",
    b"\\ud800",
    b"\xf0\x9f\x98\x80",
)
_IMAGE: Final = f"{_HOST}/team/app:stable".encode()
_MIB: Final = 1024 * 1024

TARGETS: Final = (
    Target(
        "reference",
        _reference,
        (BadReference,),
        (
            b"/",
            b":",
            b"@",
            b".",
            b"-",
            b"__",
            b"a",
            b"A",
            b"0",
            b"[",
            b"::1]",
            b"localhost",
            b"docker.io",
            D.encode(),
            b"\xc3\xbc",
            b"\n",
            b"://",
            b"library/",
        ),
        4096,
    ),
    Target(
        "challenge",
        _challenge,
        (),
        (
            b"Bearer ",
            b"Basic ",
            b"realm=",
            b"service=",
            b'"',
            b",",
            b" ",
            b"=",
            b"\\",
            b"\t",
            b"\n",
            b"https://",
            b"//",
            b"?",
            b"#",
            b"@",
            b"[",
            b"]",
            b":",
            _HOST.encode(),
            b"a",
        ),
        64 * 1024,
    ),
    Target("warning", _warning, (), (b"299 - ", b'"', b"\\", b",", b" ", b"\t", b"\n", b"a", b"\xff"), 64 * 1024),
    Target(
        "token", _token, (), (*_JSON, b"."), 64 * 1024, ("token", "access_token", "expires_in", "exp", "iat", "nbf")
    ),
    Target(
        "review",
        _review,
        (BadReview,),
        (*_JSON, b'"image"', _IMAGE, b"pods", b"CREATE", b"UPDATE", b"replicasets"),
        7 * _MIB,
        (
            "apiVersion",
            "kind",
            "request",
            "uid",
            "resource",
            "object",
            "oldObject",
            "metadata",
            "spec",
            "template",
            "containers",
            "image",
            "volumes",
        ),
    ),
    Target(
        "docker-config",
        _docker_config,
        (BadDockerConfig,),
        (
            *_JSON,
            b'"auths"',
            b'"auth"',
            b"dTpw",
            b"https://",
            b"/v1/",
            b"*",
            b"@",
            b"?",
            b"index.docker.io",
            _HOST.encode(),
        ),
        256 * 1024,
        (
            "auths",
            "auth",
            "username",
            "password",
            "identitytoken",
            "registrytoken",
            _HOST,
            "*.example.com",
            "https://index.docker.io/v1/",
        ),
    ),
    Target(
        "manifest",
        _manifest,
        (),
        (*_JSON, b'"manifests"', b'"platform"', OCI_INDEX.encode(), D.encode()),
        4 * _MIB,
        (
            "schemaVersion",
            "mediaType",
            "manifests",
            "config",
            "layers",
            "digest",
            "platform",
            "os",
            "architecture",
            "variant",
            "fsLayers",
        ),
    ),
    Target(
        "configuration",
        _configuration,
        (BadConfiguration,),
        (
            *_YAML,
            *_YAML_MORE,
            b"rules",
            b"targets",
            b"images",
            b"{path}",
            b"{region}",
            b"vars",
            b"registries",
            b"**",
            b"*",
            b"!",
            b"30s",
            b"1e9h",
            b"localhost:30081",
        ),
        _MIB // 2,
    ),
    Target("splice", _splice, (BadDocument,), (*_YAML, *_YAML_MORE, b"image: ", _IMAGE, b"a", b"1"), _MIB),
    Target(
        "annotation",
        _annotation,
        (),
        (*_JSON, b"\n", b"abc.1800000000000", b'"images"', b'"seal"', b'"time"', b'"from"', D.encode()),
        256 * 1024,
        ("images", "time", "seal", "from", "digest", "target", "source", "arm", "at", "uid"),
    ),
)
