"""A certificate and its key: checked before they serve, or made in memory."""

import re
import ssl
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from webhook.core.keeping import AUTHORITY_LIFE, BACKDATED, LEAF_LIFE
from webhook.pem import BadAuthorities, authorities

_HOST: Final = re.compile(
    r"(?:\*\.)?(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?",
    re.ASCII | re.IGNORECASE,
)

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class BadCertificate(ValueError):
    """A pair that must not serve; says why."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate chain and its key, both PEM, with what its leaf says: itself in DER, the moments at which it begins and
    ends (unix seconds) and the names it is for."""

    certificate: bytes
    key: bytes
    leaf: bytes
    starts: float
    expires: float
    names: frozenset[str]

    def __repr__(self) -> str:
        return f"Pair(expires={self.expires})"


def read(certificate: Path, key: Path, *, now: datetime, names: frozenset[str] = frozenset()) -> Pair:
    """The pair in two files, checked; for one of the `names` under which the one before is known, if there are any.

    Raises:
        BadCertificate: unreadable, expired, without a name or for others, or not belonging together.
    """
    try:
        pair = check(certificate.read_bytes(), key.read_bytes(), now=now)
    except OSError as failed:
        raise BadCertificate(f"{failed.filename}: {failed.strerror}") from None
    if names and not pair.names & names:
        raise BadCertificate(
            f"the certificate is for none of the names {', '.join(sorted(names))}; to change them, start anew"
        )
    return pair


def check(certificate: bytes, key: bytes, *, now: datetime) -> Pair:
    """A pair that may serve now.

    Raises:
        BadCertificate: not valid now, without a subject alternative name, for no server, or not belonging together.
    """
    pair = joined(certificate, key)
    if not pair.starts <= now.timestamp() < pair.expires:
        raise BadCertificate(f"the certificate is valid from {_moment(pair.starts)} to {_moment(pair.expires)} only")
    return pair


def joined(certificate: bytes, key: bytes) -> Pair:
    """A pair that belongs together, whenever it is valid.

    Raises:
        BadCertificate: not belonging together, without a subject alternative name, or for no server.
    """
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadCertificate("the certificate or its key is not PEM, or the key has a password") from None
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if leaf.public_key().public_bytes(*public) != private.public_key().public_bytes(*public):
        raise BadCertificate("the key does not belong to the certificate")
    der = leaf.public_bytes(serialization.Encoding.DER)
    starts, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Pair(certificate, key, der, starts, ends, _names(leaf))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _names(leaf: x509.Certificate) -> frozenset[str]:
    """The names that a caller may know it by, if it is for a server at all."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        # The API server checks names there only; a common name is not looked at (Go since 1.17).
        raise BadCertificate("the certificate has no subject alternative name") from None
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        uses = None
    if uses is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*uses}:
        raise BadCertificate("the certificate is not for a server (its extended key usage lacks serverAuth)")
    hosts = found.get_values_for_type(x509.DNSName)
    return frozenset([*map(str.lower, hosts), *map(str, found.get_values_for_type(x509.IPAddress))])


def context(pair: Pair, *, client_ca: str = "") -> ssl.SSLContext:
    """A server context for a pair; with `client_ca` (PEM) callers must show a certificate of that authority.

    Raises:
        BadCertificate: OpenSSL takes one of them for no good, or there is no room to load them from.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # The API server resumes no session; each ticket would only be more to sign and send.
    made.num_tickets = 0
    try:
        # OpenSSL takes files only; they live in memory-backed space for the moment of loading and only we can read them.
        with tempfile.NamedTemporaryFile(dir=_private_space()) as file:
            file.write(pair.key.rstrip() + b"\n" + pair.certificate)
            file.flush()
            made.load_cert_chain(file.name)
    except OSError as failed:
        raise BadCertificate(f"the certificate cannot be loaded: {_why(failed)}") from None
    if client_ca:
        try:
            made.load_verify_locations(cadata=authorities(client_ca))
        except BadAuthorities as bad:
            raise BadCertificate(f"the file of --client-ca {bad}") from None
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _why(failed: OSError) -> str:
    reason = failed.reason if isinstance(failed, ssl.SSLError) else failed.strerror
    return str(reason or "it is not PEM").replace("_", " ").lower()


def _private_space() -> str | None:
    shared_memory = Path("/dev/shm")  # noqa: S108 - files there never reach a disk; NamedTemporaryFile opens them 0600
    return str(shared_memory) if shared_memory.is_dir() else None


class Authority:
    """An authority of our own. It lives in memory; `certificate` (PEM) is what callers must trust."""

    def __init__(self, *, now: datetime) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._signer = authority_certificate(self._key, "moorage self-signed", now=now)
        self.certificate = self._signer.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, *, now: datetime) -> Pair:
        """A pair for this name and those of loopback."""
        return check(*pair_by(self._signer, self._key, (name, *LOOPBACK), now=now), now=now)


def authority_certificate(key: ec.EllipticCurvePrivateKey, name: str, *, now: datetime) -> x509.Certificate:
    """The certificate of an authority, signed by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public = key.public_key()
    return (
        _certificate(subject, subject, public, now, now + timedelta(seconds=AUTHORITY_LIFE))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def pair_by(
    signer: x509.Certificate,
    signer_key: ec.EllipticCurvePrivateKey,
    names: Iterable[str],
    *,
    now: datetime,
    life: float = LEAF_LIFE,
) -> tuple[bytes, bytes]:
    """A certificate for these names that an authority has signed, and its key, both PEM; it lives so many seconds, and ends
    with the authority at the latest."""
    every = tuple(dict.fromkeys(names))
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, every[0][:64])])
    ends = min(now + timedelta(seconds=life), signer.not_valid_after_utc)
    leaf = (
        _certificate(subject, signer.subject, key.public_key(), now, ends)
        .add_extension(x509.SubjectAlternativeName([_name(text) for text in every]), critical=False)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
        .sign(signer_key, hashes.SHA256())
    )
    return leaf.public_bytes(serialization.Encoding.PEM), key_text(key)


def key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def is_due(pair: Pair, *, now: datetime) -> bool:
    """Whether a pair of our own authority has lived two thirds of its life."""
    return pair.expires - now.timestamp() < LEAF_LIFE / 3


def self_signed(name: str, *, now: datetime) -> tuple[Pair, bytes]:
    """A pair for this name (and localhost) and the certificate of the authority that signed it, all made in memory."""
    authority = Authority(now=now)
    return authority.issue(name, now=now), authority.certificate


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=BACKDATED))
        .not_valid_after(ends)
    )


def _usage(*wanted: str) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{one: one in wanted for one in every})


def is_host(text: str) -> bool:
    """Whether a certificate may be for it: an IP address, or a name of DNS, where the first label may be `*`."""
    try:
        ip_address(text)
    except ValueError:
        return len(text) <= 253 and _HOST.fullmatch(text) is not None
    return True


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def public(certificate: bytes) -> Pair:
    """A chain as callers see it: without its key, and whenever it is valid.

    Raises:
        BadCertificate: not PEM, without a subject alternative name, or for no server.
    """
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
    except ValueError:
        raise BadCertificate("the certificate is not PEM") from None
    der = leaf.public_bytes(serialization.Encoding.DER)
    starts, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Pair(certificate, b"", der, starts, ends, _names(leaf))
