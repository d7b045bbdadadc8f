"""How the API server is reached: where it is, whom to trust, and as whom to ask.

In a Pod that is three files and two variables, which are read here: the client library would take 58 MiB and 1 s for
them. Kubeconfigs, with their contexts, plugins and tokens that expire, are the library's business.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
OWN_NAMESPACE: Final = SERVICE_ACCOUNT / "namespace"
HOST: Final = "KUBERNETES_SERVICE_HOST"
"""The kubelet sets it in every Pod."""
PORT: Final = "KUBERNETES_SERVICE_PORT"
REREAD: Final = 60.0
"""Seconds after which a token is read again: the kubelet replaces it well before it ends."""

Headers = Callable[[], Mapping[str, str]]
"""What says who asks, anew for each request."""


class NoCluster(ValueError):
    """No cluster can be reached with what is configured; says what to do."""


class Access(msgspec.Struct, frozen=True):
    """`ca`, `certificate` and `key` are paths of PEM files, empty for none; `name` is the one to find in the server's
    certificate where it is not the host; `proxy` an URL."""

    host: str
    headers: Headers
    ca: str = ""
    certificate: str = ""
    key: str = ""
    name: str = ""
    proxy: str = ""
    is_verified: bool = True

    def __repr__(self) -> str:
        return f"Access({self.host})"


def of_pod(
    environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT, *, now: Callable[[], float] = time.monotonic
) -> Access:
    """The cluster that this Pod runs in, as its service account.

    Raises:
        NoCluster: the Pod has no token, or this is no Pod.
    """
    host, port = environ.get(HOST, ""), environ.get(PORT, "443")
    ca = folder / "ca.crt"
    token = _Token(folder / "token", now)
    if not host or not ca.is_file() or not token.read():
        raise NoCluster(f"{folder} holds no token: does the Pod say automountServiceAccountToken: false?")
    bracketed = f"[{host}]" if ":" in host else host
    return Access(f"https://{bracketed}:{port}", token.headers, ca=str(ca))


class _Token:
    """A token in a file, read again now and then."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._text = ""
        self._until = 0.0

    def read(self) -> str:
        """The text; the one before where the file cannot be read."""
        if not self._text or self._now() >= self._until:
            try:
                self._text = self._path.read_text().strip() or self._text
            except OSError:
                pass
            else:
                self._until = self._now() + REREAD
        return self._text

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.read()}"}


def of_kubeconfig(file: Path | None = None, context: str | None = None) -> Access:
    """The cluster of a kubeconfig, else of $KUBECONFIG or ~/.kube/config.

    Raises:
        NoCluster: there is no such file or context, or it cannot be used.
    """
    from kubernetes import config  # noqa: PLC0415 - see above: who runs in a Pod does without it
    from kubernetes.client import Configuration  # noqa: PLC0415
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from yaml import YAMLError  # noqa: PLC0415

    found = Configuration()
    try:
        named = str(file) if file is not None else None
        config.load_kube_config(config_file=named, context=context, client_configuration=found)
    except TypeError:
        raise NoCluster(f"{file or 'the kubeconfig'} leads to no cluster: it is no kubeconfig") from None
    except (ConfigException, YAMLError, OSError, ValueError) as failed:
        raise NoCluster(f"{file or 'the kubeconfig'} leads to no cluster: {failed}") from None

    def headers() -> Mapping[str, str]:
        # Asking is what lets the library renew a token that has expired.
        return {one["key"]: one["value"] for one in found.auth_settings().values() if one["value"]}

    return Access(
        found.host,
        headers,
        ca=found.ssl_ca_cert or "",
        certificate=found.cert_file or "",
        key=found.key_file or "",
        name=found.tls_server_name or "",
        proxy=found.proxy or "",
        is_verified=found.verify_ssl,
    )


def namespace_of(file: Path | None = None, context: str | None = None) -> str:
    """The namespace that a context of a kubeconfig chooses; `default` where it chooses none."""
    from kubernetes import config  # noqa: PLC0415 - see above

    contexts, current = config.list_kube_config_contexts(str(file) if file is not None else None)
    chosen = next((one for one in contexts if one["name"] == context), current)
    return str((chosen.get("context") or {}).get("namespace") or "default")


def own_namespace(kubeconfig: Path | None, file: Path = OWN_NAMESPACE) -> str:
    """The namespace that this process is at home in: that of its service account, or of the kubeconfig's context."""
    if kubeconfig is not None:
        return namespace_of(kubeconfig)
    try:
        return file.read_text().strip()
    except OSError:
        raise NoCluster(f"{file} cannot be read: say in which namespace") from None
