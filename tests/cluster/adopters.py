"""Real `moorage adopt --watch` processes, with the configuration and the seal keys of a test's webhooks."""

from pathlib import Path
from typing import Final

from tests.cluster.process import Process
from tests.support.ports import lasting_ports

OFTEN: Final = "300ms"


class Adopter(Process):
    """One that looks again and again at the revisions of a namespace, once it is elected."""

    def __init__(self, name: str, folder: Path, kubeconfig: Path, namespace: str, *flags: str) -> None:
        (ops,) = lasting_ports(1)
        command: tuple[str | Path, ...] = (
            *("adopt", "--watch", "--config", folder / "moorage.yaml", "--seal-key-file", folder / "seal.keys"),
            *("--namespace", namespace, "--lease-namespace", namespace, "--interval", OFTEN),
            *("--ops-listen", f"127.0.0.1:{ops}", "--kubeconfig", kubeconfig),
            *flags,
        )
        super().__init__(name, folder / "logs" / f"{namespace}-{name}.log", command, ops)

    def says(self, event: str) -> bool:
        """Whether it has logged this."""
        return any(line["event"] == event for line in self.lines())
