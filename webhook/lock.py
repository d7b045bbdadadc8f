"""The lock file: names and the digests that are never asked for."""

from collections.abc import Iterable, Mapping
from typing import Final

from webhook.core.reference import BadReference, Reference, is_digest
from webhook.document import BadDocument, Document, documents
from webhook.document import written as as_yaml
from webhook.trouble import pointer_to

HEADER: Final = "# Names and the digests that Moorage writes for them without asking; made by `moorage check --lock`.\n"


def written(locked: Mapping[str, str]) -> str:
    """The text of a lock file."""
    return HEADER + as_yaml(dict(sorted(locked.items())))


def read(text: str, file: str) -> tuple[dict[str, str], list[BadDocument]]:
    """The locked names, normalised, and what is wrong with the file."""
    locked: dict[str, str] = {}
    wrong: list[BadDocument] = []
    for document in documents(text, file):
        if isinstance(document, BadDocument):
            wrong.append(document)
            continue
        try:
            value = document.value(scalars="text", twins=wrong)
        except BadDocument as bad:
            wrong.append(bad)
            continue
        if isinstance(value, dict):
            wrong += _read_into(locked, document, value)
        else:
            wrong.append(_bad(document, "", "the file must map names to digests"))
    return locked, wrong


def _read_into(locked: dict[str, str], document: Document, value: Mapping[str, object]) -> Iterable[BadDocument]:
    for name, digest in value.items():
        try:
            image = Reference.parse(name)
        except BadReference as bad:
            yield _bad(document, name, str(bad), of_key=True)
            continue
        key = image.tagged
        if image.digest is not None:
            yield _bad(document, name, "a name with a digest needs no lock", of_key=True)
        elif not isinstance(digest, str) or not is_digest(digest):
            yield _bad(document, name, "this is no whole digest, as sha256: and 64 hexadecimal digits")
        elif locked.get(key, digest) != digest:
            yield _bad(document, name, f"{key} is locked to another digest above", of_key=True)
        else:
            locked[key] = digest


def _bad(document: Document, name: str, message: str, *, of_key: bool = False) -> BadDocument:
    spot = document.spot(pointer_to(name) if name else "", of_key=of_key)
    return BadDocument(document.file, spot.line, spot.column, message)
