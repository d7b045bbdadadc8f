"""Files that the configuration names, relative to where it stands itself."""

from pathlib import Path

from webhook.pem import BadAuthorities, authorities
from webhook.reading import content
from webhook.trouble import Findings


class Beside:
    """Reads them, and remembers which they were: a reload has to watch them too."""

    def __init__(self, base: Path, findings: Findings) -> None:
        self._base = base
        self._findings = findings
        self.files: list[Path] = []
        self.texts: list[str] = []
        """What was read, in its order. A file that only its user reads, as a docker config, is not among it."""

    def path(self, file: str) -> Path:
        """Where a file is that only its user reads."""
        path = self._base / file
        self.files.append(path)
        return path

    def text(self, pointer: str, file: str | None) -> str:
        """The text of a file that must be there, empty for none; trouble goes to the findings."""
        return self._read(pointer, file) or ""

    def certificates(self, pointer: str, file: str | None) -> str:
        """The text of a PEM file of authorities, empty for none. An empty file is a mistake: it is being written."""
        text = self._read(pointer, file)
        try:
            return authorities(text) if text is not None else ""
        except BadAuthorities as bad:
            self._findings.refuse(pointer, f"{file} {bad}")
            return ""

    def _read(self, pointer: str, file: str | None) -> str | None:
        """None for no file, and for one that cannot be read."""
        if file is None:
            return None
        text = None
        try:
            text = content(self.path(file)).decode("utf-8")
        except OSError as failed:
            self._findings.refuse(pointer, f"{file} cannot be read: {failed.strerror}")
        except UnicodeDecodeError:
            self._findings.refuse(pointer, f"{file} cannot be read: it is not text")
        self.texts.append(text or "")
        return text
