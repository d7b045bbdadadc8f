"""`moorage serve` as it was given: its options, and what the files hold that they name."""

from pathlib import Path

import msgspec

from webhook.core.keeping import SETTLE
from webhook.core.paths import BadPath, path_secrets
from webhook.core.secret import Secret
from webhook.tls import Authority, Pair, is_host, read, utc_now


class Options(msgspec.Struct, frozen=True):
    """Each as the command line names it."""

    config: Path | None = None
    rules: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    listen: str = "0.0.0.0:8443"
    ops_listen: str = "0.0.0.0:8080"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_self_signed: str = ""
    ca_out: Path | None = None
    client_ca: Path | None = None
    client_names: tuple[str, ...] = ()
    path_secret_file: Path | None = None
    seal_key_file: Path | None = None
    drain: float = 5.0
    log_format: str = "json"
    log_level: str = "info"
    lane: bool = True
    kube: str = "auto"
    kubeconfig: Path | None = None
    register_url: str = ""
    tls_secret: str = ""
    tls_settle: float = SETTLE
    page_listen: str = ""
    page_hosts: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read again when it changes, but for the configuration."""
        named = (self.tls_cert, self.tls_key, self.client_ca, self.seal_key_file, self.path_secret_file)
        return tuple(file for file in named if file is not None)


class BadOptions(ValueError):
    """Options that cannot be served with; says which and what to do."""


def first_pair(options: Options) -> tuple[Pair | None, Authority | None]:
    """What is served with at first, and who signed it where that is ourselves; no pair where it has to be waited for.

    Raises:
        BadOptions: options that do not go together, or a file that cannot be written.
        BadCertificate: the files hold no pair that may serve.
    """
    if options.tls_secret:
        _refuse_beside_secret(options)
        return None, None
    if options.tls_cert is not None and options.tls_key is not None:
        return read(options.tls_cert, options.tls_key, now=utc_now()), None
    if options.tls_cert is not None or options.tls_key is not None or not options.tls_self_signed:
        raise BadOptions(
            "no certificate: give --tls-secret NAME, --tls-cert and --tls-key, or --tls-self-signed NAME --ca-out FILE"
        )
    if not is_host(options.tls_self_signed):
        raise BadOptions(
            f"--tls-self-signed {options.tls_self_signed!r}: give the host name, or IP address, that callers dial"
        )
    authority = Authority(now=utc_now())
    if options.ca_out is not None:
        try:
            options.ca_out.write_bytes(authority.certificate)
        except OSError as failed:
            raise BadOptions(f"--ca-out {options.ca_out}: {failed.strerror}") from None
    return authority.issue(options.tls_self_signed, now=utc_now()), authority


def _refuse_beside_secret(options: Options) -> None:
    beside = (
        *(options.tls_cert, options.tls_key, options.tls_self_signed),
        *(options.seal_key_file, options.path_secret_file, options.register_url),
    )
    if any(beside):
        raise BadOptions(
            "--tls-secret holds certificate, seal keys and path secrets: leave out --tls-cert, --tls-key, "
            "--tls-self-signed, --seal-key-file, --path-secret-file and --register-url"
        )


def secrets_of_path(file: Path | None) -> tuple[Secret, ...]:
    """What may stand in the address, newest first.

    Raises:
        BadOptions: no file, or none of the kind.
    """
    if file is None:
        return ()
    try:
        return path_secrets(_text("--path-secret-file", file))
    except BadPath as bad:
        raise BadOptions(f"--path-secret-file {file}: {bad}") from None


def authority_of_callers(file: Path | None) -> str:
    """PEM; empty where callers are not asked for a certificate.

    Raises:
        BadOptions: no file, or an empty one.
    """
    text = _text("--client-ca", file)
    if file is not None and not text.strip():
        # Nothing would be asked of callers any more.
        raise BadOptions(f"--client-ca {file}: the file is empty")
    return text


def names_of_callers(options: Options) -> frozenset[str]:
    """What their certificates may bear; empty where any name will do.

    Raises:
        BadOptions: names without an authority, or an empty one.
    """
    if options.client_names and options.client_ca is None:
        # Names that nobody has vouched for would guard nothing.
        raise BadOptions("--client-name wants --client-ca: give the authority that signs the certificates of callers")
    if not all(map(str.strip, options.client_names)):
        raise BadOptions("--client-name: the name is empty")
    return frozenset(options.client_names)


def _text(option: str, file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except OSError as failed:
        raise BadOptions(f"{option} {file}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise BadOptions(f"{option} {file}: it is no text") from None
