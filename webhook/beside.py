"""Files that the configuration names, relative to where it stands itself."""

from pathlib import Path

from webhook.trouble import Findings


class Beside:
    """Reads them, and remembers which they were: a reload has to watch them too."""

    def __init__(self, base: Path, findings: Findings) -> None:
        self._base = base
        self._findings = findings
        self.files: list[Path] = []

    def path(self, file: str) -> Path:
        """Where a file is that only its user reads."""
        path = self._base / file
        self.files.append(path)
        return path

    def text(self, pointer: str, file: str | None) -> str:
        """The text of a file that must be there, empty for none; trouble goes to the findings."""
        if file is None:
            return ""
        try:
            return self.path(file).read_bytes().decode("utf-8")
        except OSError as failed:
            self._findings.refuse(pointer, f"{file} cannot be read: {failed.strerror}")
        except UnicodeDecodeError:
            self._findings.refuse(pointer, f"{file} cannot be read: it is not text")
        return ""

    def certificates(self, pointer: str, file: str | None) -> str:
        """The text of a PEM file of authorities."""
        text = self.text(pointer, file)
        if text and not _holds_certificates(text):
            self._findings.refuse(pointer, f"{file} holds no certificate in PEM form")
            return ""
        return text


def _holds_certificates(text: str) -> bool:
    """Whether TLS will take them: what it refuses would fail every request, and nobody would know before the first."""
    import ssl  # noqa: PLC0415 - most configurations name no authorities, and need not wait for OpenSSL

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return True
