"""What stands in the Secret of certificates and keys: read, made anew, written. Knows no cluster."""

import secrets
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from webhook.core.keeping import LEAF_LIFE, WISHES, Authority, Begin, Kept, Leaf, begun, issued
from webhook.core.paths import BadPath, path_secrets
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.pem import blocks
from webhook.tls import BadCertificate, Pair, authority_certificate, check, joined, key_text, pair_by, public

CA_CERT: Final = "ca.crt"
CA_KEY: Final = "ca.key"
TLS_CERT: Final = "tls.crt"
TLS_KEY: Final = "tls.key"
SEAL_KEY: Final = "seal.key"
PATH_SECRET: Final = "path.secret"  # noqa: S105 - the name of an entry
ENTRIES: Final = (CA_CERT, CA_KEY, TLS_CERT, TLS_KEY, SEAL_KEY, PATH_SECRET)

MANAGED: Final = "moorage.dev/managed"
"""The label of what Moorage keeps by itself; with another value, or none, somebody else does."""
ROTATE: Final = "moorage.dev/rotate"
"""Annotation of the Secret by which an operator asks for something: see WISHES."""
UNTIL: Final = "moorage.dev/old-authority-until"
"""Annotation of the Secret: when the authority before may go."""
PLAIN: Final = "moorage.dev/plain-path"
"""Annotation of the Secret: with the value `true` reviews are answered at the path without a secret, too."""

_KEY: Final = "PRIVATE KEY"


def names_of(namespace: str, service: str) -> tuple[str, ...]:
    """The names of a Service; the API server calls by the first."""
    return f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", f"{service}.{namespace}"


class Stored(msgspec.Struct, frozen=True):
    """A Secret of the cluster, or files of the same names: `entries` are the bytes of each."""

    entries: Mapping[str, bytes]
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Stored({', '.join(sorted(self.entries))})"

    @classmethod
    def of_data(
        cls, data: Mapping[str, str] | None, labels: Mapping[str, str] | None, annotations: Mapping[str, str] | None
    ) -> "Stored":
        """From an object of the API."""
        entries = {name: _decoded(text) for name, text in (data or {}).items()}
        return cls(entries, labels or {}, annotations or {})

    @property
    def is_ours(self) -> bool:
        """Whether Moorage keeps it."""
        return self.labels.get(MANAGED) == "true"

    def data(self) -> dict[str, str]:
        """As the API has it."""
        return {name: b64encode(content).decode() for name, content in self.entries.items()}


class Held(msgspec.Struct, frozen=True):
    """What a server takes from a Secret; None is what cannot be used, and `problems` say why. `paths` is empty where reviews
    arrive at a path without a secret alone, and `is_open` says that they arrive there, too."""

    pair: Pair | None
    sealer: Sealer | None
    paths: tuple[Secret, ...] | None
    problems: tuple[str, ...]
    is_open: bool = False


def held(stored: Stored, *, name: str, now: datetime) -> Held:
    """What can be served with, by the name of the Service that callers use."""
    problems: list[str] = []
    try:
        pair = served(stored, name=name, now=now)
    except BadCertificate as bad:
        pair = None
        problems.append(str(bad))
    sealer = paths = None
    if SEAL_KEY in stored.entries or stored.is_ours:
        try:
            sealer = Sealer(_lines(stored, SEAL_KEY))
        except ValueError as bad:
            problems.append(f"{SEAL_KEY}: {bad}")
    try:
        paths = () if _is_without(stored) else path_secrets(_text(stored, PATH_SECRET))
    except BadPath as bad:
        problems.append(f"{PATH_SECRET}: {bad}")
    return Held(pair, sealer, paths, tuple(problems), is_open=_is_open(stored))


def served(stored: Stored, *, name: str, now: datetime) -> Pair:
    """The pair that a Secret holds, for a name, signed by an authority that stands beside it.

    Raises:
        BadCertificate: it cannot serve.
    """
    missing = [one for one in (TLS_CERT, TLS_KEY) if not stored.entries.get(one, b"").strip()]
    if missing:
        raise BadCertificate(f"there is no {' and no '.join(missing)}")
    pair = check(stored.entries[TLS_CERT], stored.entries[TLS_KEY], now=now)
    if name not in pair.names:
        raise BadCertificate(f"the certificate is for {', '.join(sorted(pair.names))}, and not for {name}")
    if CA_CERT in stored.entries:
        living = [one for one in _certificates(stored.entries[CA_CERT]) if _lives(one, now)]
        if not _signed_by(pair, living):
            raise BadCertificate(f"no authority in {CA_CERT} that is valid has signed the certificate")
    return pair


def distrust(shown: bytes, bundle: bytes, *, name: str, now: datetime) -> str:
    """Why callers who trust a bundle (PEM) do not take a chain (PEM) for a name now; empty where they do."""
    try:
        pair = public(shown)
    except BadCertificate as bad:
        return str(bad)
    if name not in pair.names:
        return f"the certificate is for {', '.join(sorted(pair.names))}, and not for {name}"
    if not pair.starts <= now.timestamp() < pair.expires:
        return f"the certificate is valid from {_date(pair.starts)} to {_date(pair.expires)} only"
    living = [one for one in _certificates(bundle) if _lives(one, now)]
    return "" if _signed_by(pair, living) else "no authority in the bundle that is valid has signed it"


def kept_in(stored: Stored) -> Kept:
    """What stands in a Secret, as far as it can be used."""
    authorities = authorities_in(stored.entries.get(CA_CERT, b""), stored.entries.get(CA_KEY, b""))
    wish = stored.annotations.get(ROTATE, "")
    return Kept(
        authorities=authorities,
        leaf=_leaf(stored, authorities),
        seals=_good_seals(stored),
        paths=_good_paths(stored),
        until=_seconds(stored.annotations.get(UNTIL, "")),
        wish=wish if wish in WISHES else "",
        is_open=_is_open(stored),
        is_ours=stored.is_ours,
    )


def stored_of(kept: Kept, before: Stored | None = None) -> Stored:
    """The Secret that says this; what others have written beside it stays."""
    entries = {
        CA_CERT: "".join(one.certificate for one in kept.authorities),
        CA_KEY: "".join(one.key.reveal() for one in kept.authorities if one.key is not None),
        TLS_CERT: kept.leaf.certificate if kept.leaf is not None else "",
        TLS_KEY: kept.leaf.key.reveal() if kept.leaf is not None else "",
        SEAL_KEY: "".join(f"{one.reveal()}\n" for one in kept.seals),
        PATH_SECRET: "".join(f"{one.reveal()}\n" for one in kept.paths),
    }
    empty = {PATH_SECRET} if kept.is_open and not kept.paths else set()
    others = {name: content for name, content in (before.entries if before else {}).items() if name not in entries}
    told = {
        ROTATE: kept.wish,
        UNTIL: _date(kept.until) if kept.until else "",
        PLAIN: "true" if kept.is_open and kept.paths else "",
    }
    annotations = {**(before.annotations if before else {}), **told}
    return Stored(
        {**others, **{name: text.encode() for name, text in entries.items() if text or name in empty}},
        {**(before.labels if before else {}), **({MANAGED: "true"} if kept.is_ours else {})},
        {name: text for name, text in annotations.items() if text or name not in told},
    )


def new_authority(now: datetime) -> Authority:
    """An authority, whose name tells it from the one before."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = authority_certificate(key, f"moorage {now:%Y-%m-%d} {secrets.token_hex(3)}", now=now)
    return _authority(made, Secret(key_text(key).decode()))


def new_leaf(authority: Authority, names: Iterable[str], now: datetime, *, life: float = LEAF_LIFE) -> Leaf:
    """A certificate for these names.

    Raises:
        BadCertificate: the authority has no key.
    """
    signer_key = _private(authority.key)
    if signer_key is None:
        raise BadCertificate("the key of the authority is not known")
    signer = x509.load_pem_x509_certificate(authority.certificate.encode())
    certificate, key = pair_by(signer, signer_key, names, now=now, life=life)
    return _leaf_of(joined(certificate, key), authority.id)


def made(names: Iterable[str], now: datetime, *, life: float = LEAF_LIFE) -> Kept:
    """All of it, made anew: a certificate for these names lives so many seconds."""
    first = begun(None, Begin(()), authority=new_authority(now), seal=new_secret(), path=new_secret())
    return issued(first, new_leaf(first.authorities[0], names, now, life=life), now=now.timestamp())


def new_secret() -> Secret:
    """A seal key, or a path secret."""
    return Secret(secrets.token_hex(32))


def authorities_in(certificates: bytes, keys: bytes = b"") -> tuple[Authority, ...]:
    """The authorities in PEM, in order, each with its key where that is among the keys; what cannot be read is left out."""
    known = {_public(one.public_key()): Secret(key_text(one).decode()) for one in _keys(keys)}
    every = {one.id: one for one in (_authority(found, None) for found in _certificates(certificates))}
    return tuple(
        msgspec.structs.replace(one, key=known.get(_public_of(one))) if known else one for one in every.values()
    )


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of a certificate, in hexadecimal digits."""
    return sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _authority(certificate: x509.Certificate, key: Secret | None) -> Authority:
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    starts, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return Authority(fingerprint(certificate), text, key, starts, ends)


def _leaf(stored: Stored, authorities: tuple[Authority, ...]) -> Leaf | None:
    try:
        pair = joined(stored.entries.get(TLS_CERT, b""), stored.entries.get(TLS_KEY, b""))
    except BadCertificate:
        return None
    for one in authorities:
        if _signed_by(pair, [x509.load_pem_x509_certificate(one.certificate.encode())]):
            return _leaf_of(pair, one.id)
    return _leaf_of(pair, "")


def _leaf_of(pair: Pair, authority: str) -> Leaf:
    return Leaf(pair.certificate.decode(), Secret(pair.key.decode()), authority, pair.starts, pair.expires, pair.names)


def _signed_by(pair: Pair, authorities: Iterable[x509.Certificate]) -> bool:
    """Whether one of the authorities has signed a certificate, or one that stands between them in its chain."""
    subject, *between = _certificates(pair.certificate)
    trusted = list(authorities)
    for _ in range(len(between) + 1):
        if any(_has_issued(one, subject) for one in trusted):
            return True
        found = next((one for one in between if one != subject and _has_issued(one, subject)), None)
        if found is None:
            return False
        subject = found
    return False


def _has_issued(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _lives(one: x509.Certificate, now: datetime) -> bool:
    return one.not_valid_before_utc <= now < one.not_valid_after_utc


def _certificates(content: bytes) -> list[x509.Certificate]:
    found = []
    for block in _blocks(content, "CERTIFICATE"):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            continue
    return found


def _keys(content: bytes) -> Iterator[ec.EllipticCurvePrivateKey]:
    for block in _blocks(content, _KEY):
        if (key := _private(Secret(block.decode()))) is not None:
            yield key


def _private(key: Secret | None) -> ec.EllipticCurvePrivateKey | None:
    try:
        found = serialization.load_pem_private_key(key.reveal().encode(), password=None) if key is not None else None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return found if isinstance(found, ec.EllipticCurvePrivateKey) else None


def _public_of(one: Authority) -> bytes:
    return _public(x509.load_pem_x509_certificate(one.certificate.encode()).public_key())


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    found: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _blocks(content: bytes, kind: str) -> list[bytes]:
    return [one.encode() for one in blocks(content.decode("utf-8", "replace"), kind)]


def _good_seals(stored: Stored) -> tuple[Secret, ...]:
    try:
        Sealer(keys := _lines(stored, SEAL_KEY))
    except ValueError:
        return ()
    return keys


def _good_paths(stored: Stored) -> tuple[Secret, ...]:
    try:
        return path_secrets(_text(stored, PATH_SECRET))
    except BadPath:
        return ()


def _is_open(stored: Stored) -> bool:
    return _is_without(stored) or stored.annotations.get(PLAIN) == "true"


def _is_without(stored: Stored) -> bool:
    return stored.entries.get(PATH_SECRET, b"?" if stored.is_ours else b"") == b""


def _lines(stored: Stored, name: str) -> tuple[Secret, ...]:
    return tuple(Secret(line.strip()) for line in _text(stored, name).splitlines() if line.strip())


def _text(stored: Stored, name: str) -> str:
    return stored.entries.get(name, b"").decode("utf-8", "replace")


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text)
    except Error:
        return b""


def _seconds(date: str) -> float:
    try:
        return datetime.fromisoformat(date).timestamp() if date else 0.0
    except ValueError:
        return 0.0


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
