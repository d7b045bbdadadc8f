"""One real `moorage serve` process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGHUP
from typing import Final

import msgspec

from tests.cluster.balancer import Backend, Spread
from tests.cluster.process import Process, total
from tests.support.ports import lasting_ports
from tests.support.until import until

SEAL_KEY: Final = "0123456789abcdef" * 4
"""What the processes seal with, unless a test says otherwise."""

_RELOADED: Final = "moorage_config_reload_success_timestamp_seconds"


class Settings(msgspec.Struct, frozen=True):
    """How processes are started, and how they are registered; `kubeconfig` is what they see of the cluster, or
    `mounted`, the folder of a service account, with `environ` as the kubelet sets it."""

    configuration: str
    kubeconfig: Path | None
    mounted: Path | None = None
    drain: str = "1s"
    seal_keys: Sequence[str] = (SEAL_KEY,)
    flags: Sequence[str] = ()
    path: str = ""
    """The secret that stands in the address, where there is one."""
    environ: Mapping[str, str] = {}
    spread: Spread = "connections"
    """`connections`, as a Service, or `requests`: each review goes to another process."""
    failure_policy: str = "Fail"
    timeout: int = 10
    """Seconds; more than usual, so that a call is not lost because the machine does other things too."""


OF_REGISTRATIONS: Final = frozenset({"spread", "failure_policy", "timeout"})
"""Settings that say nothing about the processes themselves."""


class Webhook(Process):
    """One that serves."""

    def __init__(self, name: str, folder: Path, settings: Settings) -> None:
        admission, ops = lasting_ports(2)
        self.backend = Backend(admission, ops)
        command: Sequence[str | Path] = (
            *("serve", "--config", folder / "moorage.yaml"),
            *("--listen", f"127.0.0.1:{admission}", "--ops-listen", f"127.0.0.1:{ops}"),
            *("--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key"),
            *("--seal-key-file", folder / "seal.keys", "--drain", settings.drain),
            *(("--kubeconfig", settings.kubeconfig) if settings.kubeconfig is not None else ()),
            *(("--path-secret-file", folder / "path.secret") if settings.path else ()),
            *settings.flags,
        )
        # Not beside the configuration: whatever is written there makes it look whether that has changed.
        super().__init__(
            name, folder / "logs" / f"{name}.log", command, ops, settings.environ, mounted=settings.mounted
        )

    @property
    def url(self) -> str:
        """Where it answers reviews, without anybody in between."""
        return f"https://127.0.0.1:{self.backend.port}"

    def reload(self) -> None:
        """Let it read its files again; returns when it has."""
        self.await_reload(self.begin_reload())

    def begin_reload(self) -> float:
        """Let it read its files again; what `await_reload` wants to know."""
        before = self._reloaded()
        self.running().send_signal(SIGHUP)
        return before

    def await_reload(self, before: float) -> None:
        """Until it has read its files."""
        until(f"{self.name} has loaded its configuration", lambda: self._reloaded() > before)

    def _reloaded(self) -> float:
        return total(self.metrics(), _RELOADED, {})
