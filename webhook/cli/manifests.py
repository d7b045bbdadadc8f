"""Finding and reading manifests: files, folders, stdin, kustomizations."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from webhook.cli.exits import Exit, Stop
from webhook.core.admission import BadReview
from webhook.core.admission import decode as decode_review
from webhook.core.rollout import Rollout
from webhook.core.subject import BadObject, Subject, objects_in, subject_of
from webhook.document import MAX_BYTES, BadDocument, Document, decode, documents
from webhook.trouble import parts_of, way_to
from webhook.wiring import CLOCKS

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
BUILDERS: Final = (("kubectl", "kustomize"), ("kustomize", "build"))

_CHUNK: Final = 1 << 20
_WORDS: Final = {
    "array": "a list",
    "object": "a mapping",
    "str": "a text",
    "bool": "a truth value",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
}
_EXPECTED: Final = re.compile(rf"Expected `({'|'.join(_WORDS)})(?: \| null)?`, got `({'|'.join(_WORDS)})`")


class Source(msgspec.Struct):
    """One input: its name and its text, or what is wrong with it."""

    name: str
    text: str = ""
    trouble: BadDocument | None = None


class Found(msgspec.Struct):
    """One object to decide on. `at` is its pointer in the document, `manifest` the object itself; `may_change` is false
    for a review in which only the guard judges.

    A live object stands in no text: it has no document, and its line is 0. `owners` are the ownerReferences of its Pods,
    `unseen` says why admission never sees them. `rollout` is there for the review of a revision that is to be pinned.
    """

    source: str
    line: int
    document: Document | None
    at: str
    api_version: str
    subject: Subject
    may_change: bool = True
    manifest: Mapping[str, Any] = {}
    owners: tuple[Mapping[str, Any], ...] = ()
    unseen: str = ""
    rollout: Rollout | None = None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.source}:{self.line}" if self.line else f"{self.source} in {self.subject.namespace}"


class Withheld(BadDocument):
    """What a cluster did not give. `was_asked` is false where it did not answer, or not to this user."""

    def __init__(self, place: str, message: str, *, was_asked: bool) -> None:
        super().__init__(place, 0, 0, message)
        self.args = (f"{place}: {message}",)
        self.was_asked = was_asked


class Passed(msgspec.Struct, frozen=True):
    """A document without a Pod or a Pod template that is known. `kind` is empty where it names none."""

    source: str
    line: int
    kind: str


class Input(msgspec.Struct, frozen=True):
    """One input, read: objects to decide on, documents that are broken, and those that are not ours to decide on."""

    source: Source
    found: list[Found]
    broken: list[BadDocument]
    passed: list[Passed]

    def take(self, one: Found | Passed | BadDocument) -> None:
        """Put one where it belongs."""
        match one:
            case Found():
                self.found.append(one)
            case Passed():
                self.passed.append(one)
            case BadDocument():
                self.broken.append(one)


def sources(paths: Sequence[str], kustomizations: Sequence[Path], *, recurse: bool) -> Iterator[Source]:
    """All inputs in the order given, each once; what cannot be read is told, and the others still come.

    Raises:
        Stop: there is nothing to read, or no program that builds kustomizations.
    """
    if not paths and not kustomizations:
        raise Stop(
            Exit.USAGE, "name files, folders or live objects (KIND/NAME), - for standard input, or give -A, -n or -l"
        )
    seen: set[str] = set()
    for path in dict.fromkeys(paths):
        for source in (_stdin(),) if path == "-" else _files(path, recurse=recurse):
            if source.name not in seen:
                seen.add(source.name)
                yield source
    for folder in dict.fromkeys(kustomizations):
        yield _kustomized(folder)


def _files(name: str, *, recurse: bool) -> Iterator[Source]:
    if not Path(name).is_dir():
        yield _file(Path(name))
        return
    is_empty = True
    for source in _folder(name, recurse=recurse):
        is_empty = False
        yield source
    if is_empty:
        # Silence would pass a check of nothing; kubectl refuses it too.
        deeper = "" if recurse else "; -R looks into sub-folders"
        yield _unread(name, f"no file in it ends with .yaml, .yml or .json{deeper}")


def _folder(name: str, *, recurse: bool) -> Iterator[Source]:
    refused: list[OSError] = []
    for folder, below, files in os.walk(name, onerror=refused.append):
        below[:] = sorted(below) if recurse else []
        for file in sorted(files):
            path = Path(folder, file)
            if path.suffix in SUFFIXES and path.is_file():
                yield _file(path)
    for failed in refused:
        yield _unread(str(failed.filename), f"cannot be read: {failed.strerror}")


def _file(path: Path) -> Source:
    try:
        with path.open("rb") as stream:
            return _read(_shown(path), stream)
    except OSError as failed:
        hint = "; a URL is not fetched, pipe it into `-`" if ":/" in str(path) else ""
        return _unread(_shown(path), f"cannot be read: {failed.strerror}{hint}")


def _stdin() -> Source:
    if sys.stdin is None:
        return _unread("stdin", "cannot be read: it is closed")
    return _read("stdin", sys.stdin.buffer)


def _read(name: str, stream: Any) -> Source:
    # Piece by piece, so that an interrupt is heard between two of them, and no more than may be kept.
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_BYTES and (piece := stream.read1(_CHUNK)):
        pieces.append(piece)
        size += len(piece)
    return _decoded(name, b"".join(pieces))


def _decoded(name: str, data: bytes) -> Source:
    try:
        return Source(name, decode(data, name))
    except BadDocument as bad:
        return Source(name, trouble=bad)


def _unread(name: str, message: str) -> Source:
    return Source(name, trouble=BadDocument(name, 1, 1, message))


def _shown(path: Path) -> str:
    """A name that can be printed: file systems take any bytes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _kustomized(folder: Path) -> Source:
    for program, verb in BUILDERS:
        path = shutil.which(program)
        if path is not None:
            command = [path, verb, str(folder)]
            built = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603 - the user's own kubectl
            if built.returncode != 0:
                said = built.stderr.decode(errors="replace").strip()
                return _unread(_shown(folder), f"{program} {verb} {_shown(folder)} failed: {said}")
            return _decoded(_shown(folder), built.stdout)
    raise Stop(Exit.USAGE, "-k needs kubectl or kustomize on the PATH")


def objects(source: Source, *, namespace: str, templates: Mapping[str, str]) -> Iterator[Found | Passed | BadDocument]:
    """The objects of one input that have a Pod or a Pod template; other and broken documents between them."""
    if source.trouble is not None:
        yield source.trouble
        return
    for document in documents(source.text, source.name):
        if isinstance(document, BadDocument):
            yield document
            continue
        try:
            yield from _objects(document, namespace, templates)
        except BadDocument as bad:
            yield bad


def _objects(
    document: Document, namespace: str, templates: Mapping[str, str]
) -> Iterator[Found | Passed | BadDocument]:
    value = document.value()
    if not isinstance(value, dict):
        yield Passed(document.file, document.line, "")
    elif value.get("kind") == "AdmissionReview":
        yield from _reviewed(document, value)
    else:
        for at, manifest in objects_in(value):
            yield _object(document, at, manifest, namespace, templates)


def _object(
    document: Document, at: str, manifest: Mapping[str, Any], namespace: str, templates: Mapping[str, str]
) -> Found | Passed | BadDocument:
    try:
        subject = subject_of(manifest, namespace=namespace, templates=templates)
    except BadObject as bad:
        spot = document.spot(at + bad.pointer)
        what = f"{bad.kind}: {way_to(parts_of(bad.pointer))}: {_wanted(bad.why)}"
        return BadDocument(document.file, spot.line, spot.column, what)
    line = document.spot(at).line
    if subject is None:
        return Passed(document.file, line, str(manifest.get("kind") or ""))
    version = str(manifest.get("apiVersion") or "")
    return Found(document.file, line, document, at, version, subject, manifest=manifest)


def _wanted(said: str) -> str:
    """What msgspec says of a wrong type, in words that people have for YAML."""
    found = _EXPECTED.fullmatch(said)
    if found is None:
        return said
    hint = "; put quotes around it" if found[1] == "str" and found[2] in {"bool", "float", "int"} else ""
    return f"{_WORDS[found[1]]} is wanted, not {_WORDS[found[2]]}{hint}"


def _reviewed(document: Document, value: dict[str, Any]) -> Iterator[Found | Passed]:
    """The object of an AdmissionReview, read as the server reads it."""
    try:
        review = decode_review(json.dumps(value).encode(), CLOCKS.wall())
    except BadReview as bad:
        raise BadDocument(document.file, document.line, 1, str(bad)) from None
    if review.untouched:
        raise BadDocument(document.file, document.line, 1, f"the server would leave it as it is: {review.untouched}")
    if review.subject is None:
        yield Passed(document.file, document.line, f"AdmissionReview of {review.operation} {review.resource}")
        return
    at = "/request/object"
    line, manifest = document.spot(at).line, value["request"]["object"]
    version = str(manifest.get("apiVersion", "v1"))
    subject = msgspec.structs.replace(review.subject, name=review.subject.name or str(value["request"].get("name", "")))
    yield Found(
        document.file, line, document, at, version, subject, review.may_change, manifest, rollout=review.rollout
    )
