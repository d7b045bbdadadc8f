"""Finding and reading manifests: files, folders, stdin, kustomizations."""

import os
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
from webhook.core.subject import BadObject, Subject, subjects_of
from webhook.document import MAX_BYTES, BadDocument, Document, decode, documents

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
BUILDERS: Final = (("kubectl", "kustomize"), ("kustomize", "build"))


class Source(msgspec.Struct):
    """One input: its name and its text, or what is wrong with it."""

    name: str
    text: str = ""
    trouble: BadDocument | None = None


class Found(msgspec.Struct):
    """One object to decide on. `at` is its pointer in the document, `may_change` is false for a
    review in which only the guard judges."""

    source: str
    line: int
    document: Document
    at: str
    manifest: Mapping[str, Any]
    subject: Subject
    may_change: bool = True


def sources(paths: Sequence[str], kustomizations: Sequence[Path], *, recurse: bool) -> Iterator[Source]:
    """All inputs in the order given; what cannot be read is told, and the others still come.

    Raises:
        Stop: there is nothing to read, or kustomize cannot be run.
    """
    if not paths and not kustomizations:
        raise Stop(Exit.USAGE, "name a file or folder, or - for standard input")
    for path in paths:
        if path == "-":
            yield _read("stdin", sys.stdin.buffer.read(MAX_BYTES + 1))
        else:
            yield from _files(Path(path), recurse=recurse)
    for folder in kustomizations:
        yield _kustomized(folder)


def _files(path: Path, *, recurse: bool) -> Iterator[Source]:
    if path.is_dir():
        every = path.rglob("*") if recurse else path.glob("*")
        for file in sorted(one for one in every if one.suffix in SUFFIXES and one.is_file()):
            yield _from(file)
    else:
        yield _from(path)


def _from(file: Path) -> Source:
    try:
        if file.stat().st_size > MAX_BYTES:
            return Source(str(file), trouble=BadDocument(str(file), 1, 1, f"more than {MAX_BYTES >> 20} MiB"))
        return _read(str(file), file.read_bytes())
    except OSError as failed:
        return Source(str(file), trouble=BadDocument(str(file), 1, 1, f"cannot be read: {failed.strerror}"))


def _read(name: str, data: bytes) -> Source:
    try:
        return Source(name, decode(data, name))
    except BadDocument as bad:
        return Source(name, trouble=bad)


def _kustomized(folder: Path) -> Source:
    for program, verb in BUILDERS:
        path = shutil.which(program)
        if path is not None:
            built = subprocess.run([path, verb, str(folder)], capture_output=True, check=False, env=os.environ)  # noqa: S603 - the user's own kubectl, on the user's own folder
            if built.returncode != 0:
                raise Stop(
                    Exit.USAGE, f"{program} {verb} {folder} failed: {built.stderr.decode(errors='replace').strip()}"
                )
            return _read(str(folder), built.stdout)
    raise Stop(Exit.USAGE, "-k needs kubectl or kustomize on the PATH")


def objects(source: Source, *, namespace: str, templates: Mapping[str, str]) -> Iterator[Found | BadDocument]:
    """The objects of one input that have a Pod or a Pod template; broken documents between them."""
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
        except BadObject as bad:
            spot = document.spot("")
            yield BadDocument(source.name, spot.line, spot.column, str(bad))


def _objects(document: Document, namespace: str, templates: Mapping[str, str]) -> Iterator[Found]:
    value = document.value()
    if not isinstance(value, dict):
        return
    if value.get("kind") == "AdmissionReview":
        yield from _reviewed(document, value)
        return
    for at, manifest, subject in subjects_of(value, namespace=namespace, templates=templates):
        yield Found(document.file, document.spot(at).line, document, at, manifest, subject)


def _reviewed(document: Document, value: dict[str, Any]) -> Iterator[Found]:
    """The object of an AdmissionReview, read as the server reads it."""
    try:
        review = decode_review(msgspec.json.encode(value))
    except BadReview as bad:
        raise BadDocument(document.file, document.line, 1, str(bad)) from None
    if review.subject is not None:
        at = "/request/object"
        manifest = {"apiVersion": "v1", "kind": "Pod"}
        yield Found(document.file, document.spot(at).line, document, at, manifest, review.subject, review.may_change)
