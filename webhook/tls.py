"""A certificate and its key: checked before they serve, or made in memory."""

import ssl
import tempfile
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

LEAF_DAYS: Final = 30
CA_DAYS: Final = 365


class BadCertificate(ValueError):
    """A pair that must not serve; says why."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate chain and its key, both PEM, with the moment it expires (unix seconds)."""

    certificate: bytes
    key: bytes
    expires: float

    def __repr__(self) -> str:
        return f"Pair(expires={self.expires})"


def read(certificate: Path, key: Path, *, now: datetime) -> Pair:
    """The pair in two files, checked.

    Raises:
        BadCertificate: unreadable, expired, without a name, or not belonging together.
    """
    try:
        return check(certificate.read_bytes(), key.read_bytes(), now=now)
    except OSError as failed:
        raise BadCertificate(f"{failed.filename}: {failed.strerror}") from None


def check(certificate: bytes, key: bytes, *, now: datetime) -> Pair:
    """A pair that may serve.

    Raises:
        BadCertificate: expired, without a subject alternative name, or not belonging together.
    """
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadCertificate("the certificate or its key is not PEM, or the key has a password") from None
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if leaf.public_key().public_bytes(*public) != private.public_key().public_bytes(*public):
        raise BadCertificate("the key does not belong to the certificate")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise BadCertificate(
            f"the certificate is valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc} only"
        )
    try:
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        # The API server checks names there only; a common name is not looked at (Go since 1.17).
        raise BadCertificate("the certificate has no subject alternative name") from None
    return Pair(certificate, key, leaf.not_valid_after_utc.timestamp())


def context(pair: Pair, *, client_ca: str = "") -> ssl.SSLContext:
    """A server context for a pair; with `client_ca` (PEM) callers must show a certificate of that authority."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL takes files only; they live in memory-backed space for the moment of loading and only we can read them.
    with tempfile.NamedTemporaryFile(dir=_private_space()) as file:
        file.write(pair.key.rstrip() + b"\n" + pair.certificate)
        file.flush()
        made.load_cert_chain(file.name)
    if client_ca:
        made.load_verify_locations(cadata=client_ca)
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _private_space() -> str | None:
    shared_memory = Path("/dev/shm")  # noqa: S108 - files there never reach a disk; NamedTemporaryFile opens them 0600
    return str(shared_memory) if shared_memory.is_dir() else None


def self_signed(name: str, *, now: datetime) -> tuple[Pair, bytes]:
    """A pair for this name (and localhost) and the certificate of the authority that signed it, all made in memory."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "moorage self-signed")])
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    names = [_name(text) for text in dict.fromkeys([name, "localhost", "127.0.0.1", "::1"])]
    leaf = (
        _certificate(subject, ca_name, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return check(leaf.public_bytes(pem), secret, now=now), ca.public_bytes(pem)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
